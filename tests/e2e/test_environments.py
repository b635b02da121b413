"""Environments, from a container on the host to a task on another machine's engine."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.engine import PrivateEngine, private_engine
from tests.support import needs
from tests.support.cluster import Cluster
from tests.support.images import Images, import_image, system_tar, tar_of
from tests.support.wait import wait_until

pytestmark = pytest.mark.docker
MIB = 1 << 20


def docker(*argv: str, check: bool = True, address: str = "") -> str:
    host = ["--host", address] if address else []
    done = subprocess.run(["docker", *host, *argv], capture_output=True, text=True, timeout=120)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def name() -> Iterator[str]:
    """An environment that nobody else has; its container and image are removed at the end."""
    chosen = f"e{uuid.uuid4().hex[:10]}"
    yield chosen
    docker("rm", "--force", "--volumes", chosen, check=False)
    docker("rmi", "--force", f"hakuriver/{chosen}:base", check=False)


@pytest.fixture
def base(docker_images: Images) -> str:
    """An image to begin with, as a user would name it."""
    return docker_images.image(docker_images.base)


@pytest.fixture
def host(cluster: Cluster) -> Cluster:
    cluster.start_host()
    return cluster


@pytest.fixture(scope="module")
def far_engine() -> Iterator[PrivateEngine]:
    needs.needs(needs.docker(), needs.root())
    with private_engine(live_restore=False) as made:
        yield made


@pytest.fixture
def far(
    host: Cluster, far_engine: PrivateEngine, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cluster]:
    """A cluster whose only node has an engine of its own, that knows no image of ours."""
    with monkeypatch.context() as patch:
        patch.setenv("DOCKER_HOST", far_engine.address)
        host.start_runner("far", runner_cores=8)
    yield host
    address = far_engine.address
    for each in docker("ps", "-aq", address=address).split():
        docker("rm", "-f", each, address=address)
    for each in docker("images", "-aq", address=address).split():
        docker("rmi", "-f", each, address=address, check=False)


def tarballs(cluster: Cluster, suffix: str = "tar") -> list[Path]:
    return sorted((cluster.shared / "hakuriver-containers").glob(f"*.{suffix}"))


def prepare(cluster: Cluster, name: str, base: str, content: str = "one") -> None:
    cluster.run("docker", "create-container", base, name)
    docker("exec", name, "sh", "-c", f"echo {content} > /made")


def pack(cluster: Cluster, name: str) -> Path:
    done = cluster.run("docker", "create-tar", name)
    return cluster.shared / "hakuriver-containers" / done.out.split()[-1].rstrip(".")


def row_of(cluster: Cluster, name: str) -> dict | None:
    """Of list-containers; others may use the same engine."""
    rows = json.loads(cluster.run("docker", "list-containers", "--json").out)
    return next((row for row in rows if row["name"] == name), None)


def output(cluster: Cluster, name: str, *argv: str) -> str:
    done = cluster.client("--wait", "--json", "--container", name, "--", *argv)
    task = json.loads(done.out)
    return (cluster.shared / "task_outputs" / f"{task['task_id']}.out").read_text()


def test_the_whole_life(far: Cluster, far_engine: PrivateEngine, name: str, base: str) -> None:
    prepare(far, name, base)
    assert docker("inspect", "--format={{.State.Running}}", name) == "true"
    tarball = pack(far, name)
    assert docker("inspect", "--format={{.State.Running}}", name) == "true", "it is not stopped"
    manifest = json.loads(tarball.with_suffix(".json").read_text())
    assert manifest["size"] == tarball.stat().st_size
    assert manifest["image_id"] == docker("image", "inspect", "--format={{.Id}}", f"hakuriver/{name}:base")  # fmt: skip

    task_id = far.submit("cat", "/made", container_name=name)
    task = far.wait_status(task_id, "completed", timeout=60)
    assert far.client("logs", task_id).out == "one\n"
    assert task["image"] == manifest["image_id"]
    status = far.client("status", task_id).out
    assert manifest["image_id"] in status
    assert "packed" in status

    def held() -> bool:
        listed = json.loads(far.run("docker", "list-tars", "--json").out)
        return bool(listed[name]["all_versions"][0]["nodes"] == ["far"])

    wait_until(held, message="list-tars says which node holds it")
    far.run("docker", "delete-container", name)
    assert row_of(far, name) is None
    assert tarball.exists(), "the tarballs stay"
    assert output(far, name, "cat", "/made") == "one\n"
    far.run("docker", "delete-tar", name)
    assert tarballs(far) + tarballs(far, "json") == []


@pytest.mark.parametrize(
    "said",
    [
        ['ENTRYPOINT ["/bin/echo","entry"]', 'CMD ["default"]'],
        ['ENTRYPOINT ["/bin/echo","entry"]'],
        ['CMD ["sh","-c","echo default"]'],  # as that of python, debian …
        [],
    ],
)
def test_entrypoint_and_command_of_the_image_survive(
    host: Cluster, name: str, said: list[str]
) -> None:
    image = f"{name}:made"
    import_image(image, system_tar(), ["ENV PATH=/bin", *said])
    try:
        host.run("docker", "create-container", image, name)
        pack(host, name)
        wanted, packed = (
            json.loads(docker("image", "inspect", "--format={{json .Config}}", each))
            for each in (image, f"hakuriver/{name}:base")
        )
        for each in ("Entrypoint", "Cmd"):
            assert (packed.get(each) or []) == (wanted.get(each) or [])
    finally:
        docker("rmi", "--force", image)


def test_a_newer_version_is_for_later_tasks_only(
    far: Cluster, far_engine: PrivateEngine, name: str, base: str
) -> None:
    prepare(far, name, base)
    pack(far, name)
    script = "cat /made; until [ -e go ]; do sleep 0.1; done; cat /made"
    old = far.submit("sh", "-c", script, container_name=name)
    far.wait_status(old, "running", timeout=60)
    docker("exec", name, "sh", "-c", "echo two > /made")
    pack(far, name)
    assert output(far, name, "cat", "/made") == "two\n"
    (far.shared / "shared_data" / "go").touch()
    far.wait_status(old, "completed")
    assert far.client("logs", old).out == "one\none\n"
    images = ("images", "--quiet", "--no-trunc")
    one, two = (far.task(task_id)["image"] for task_id in (old, str(int(old) + 1)))
    wait_until(
        lambda: docker(*images, address=far_engine.address).split() == [two],
        timeout=90,
        message=f"the superseded image {one} is removed from the node",
    )


def test_only_so_many_versions_stay(host: Cluster, name: str, base: str) -> None:
    prepare(host, name, base)
    made = [pack(host, name) for _ in range(3)]
    assert tarballs(host) == made[1:]
    assert [path.with_suffix(".tar") for path in tarballs(host, "json")] == made[1:]
    host.run("docker", "delete-tar", name, made[1].stem.rpartition("-")[2])
    assert tarballs(host) == made[2:]
    done = host.run("docker", "delete-tar", name, "5", check=False)
    assert (done.returncode, "no tarball of 5" in done.err) == (4, True)


def test_many_tasks_cost_one_load(far: Cluster, name: str, base: str) -> None:
    prepare(far, name, base)
    docker("exec", name, "dd", "if=/dev/urandom", "of=/big", "bs=1M", "count=60")
    pack(far, name)
    ids = [far.submit("cat", "/made", container_name=name, required_cores=0) for _ in range(8)]
    for task_id in ids:
        far.wait_status(task_id, "completed", timeout=60)
    assert far.runners["far"].log.read_text().count("INFO loading ") == 1


def test_docker_sync_warms_a_node(
    far: Cluster, far_engine: PrivateEngine, name: str, base: str
) -> None:
    prepare(far, name, base)
    pack(far, name)
    done = far.run("docker", "sync", name)
    assert done.out == f"Environment '{name}' is on far.\n"
    assert docker("images", "-q", f"hakuriver/{name}:base", address=far_engine.address)
    assert far.run("docker", "sync", name, "far").returncode == 0
    done = far.run("docker", "sync", name, "nowhere", check=False)
    assert (done.returncode, "nowhere is not registered" in done.err) == (4, True)
    done = far.run("docker", "sync", "nothing", check=False)
    assert (done.returncode, "has no tarball" in done.err) == (4, True)


def flip(path: Path) -> None:
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff\xfe\xfd")


def cut(path: Path) -> None:
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2)


def other_image(path: Path) -> None:
    docker("save", "-o", str(path), docker("images", "-q", "hakuriver/*").split()[0])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [(flip, "damaged: its SHA-256"), (cut, "damaged or no tarball|is cut off"), (other_image, "")],
    ids=["corrupt", "truncated", "foreign"],
)
def test_a_bad_tarball_fails_its_task_and_a_retry_works_with_a_good_one(
    far: Cluster,
    far_engine: PrivateEngine,
    name: str,
    base: str,
    spoil: Callable[[Path], None],
    words: str,
) -> None:
    prepare(far, name, base)
    docker("exec", name, "dd", "if=/dev/urandom", "of=/big", "bs=1M", "count=8")
    tarball = pack(far, name)
    good = tarball.read_bytes()
    spoil(tarball)
    task_id = far.submit("cat", "/made", container_name=name)
    task = far.wait_status(task_id, "failed", timeout=60)
    assert tarball.name in task["error_message"]
    assert any(word in task["error_message"] for word in words.split("|"))
    assert docker("images", "-q", address=far_engine.address) == "", "nothing was loaded"
    node = far.node("far")
    assert node is not None
    assert (node["status"], node["problems"]) == ("online", [])
    tarball.write_bytes(good)
    far.client("requeue", task_id)
    far.wait_status(task_id, "completed", timeout=60)


def test_a_missing_environment_says_how_to_make_it(far: Cluster) -> None:
    task_id = far.submit("true", container_name="nowhere")
    message = far.wait_status(task_id, "failed")["error_message"]
    assert "there is no environment 'nowhere'" in message
    assert "docker create-container IMAGE nowhere" in message


def test_an_image_that_somebody_removed_is_loaded_again(
    far: Cluster, far_engine: PrivateEngine, name: str, base: str
) -> None:
    prepare(far, name, base)
    pack(far, name)
    assert output(far, name, "cat", "/made") == "one\n"
    docker("rmi", "-f", f"hakuriver/{name}:base", address=far_engine.address)
    assert output(far, name, "cat", "/made") == "one\n"


def test_the_tarball_of_the_first_hakuriver_works(far: Cluster, name: str, base: str) -> None:
    docker("tag", base, f"hakuriver/{name}:base")
    path = far.shared / "hakuriver-containers" / f"{name}-1700000000.tar"
    docker("save", "-o", str(path), f"hakuriver/{name}:base")
    assert output(far, name, "echo", "hello") == "hello\n"


# What is not ours


def test_a_name_that_ids_of_others_begin_with_is_nobodys(host: Cluster, base: str) -> None:
    made: dict[str, str] = {}
    both: list[str] = []
    try:
        while not both:
            new = docker("create", base, "true")
            both = [made[new[0]]] if new[0] in made else []
            made[new if both else new[0]] = new
        done = host.run("docker", "start-container", both[0][0], check=False)
        assert (done.returncode, "has no container on the host" in done.err) == (4, True), done.err
    finally:
        docker("rm", *made.values())


def test_a_container_of_somebody_else_is_left_alone(host: Cluster, name: str, base: str) -> None:
    docker("run", "-d", "--name", name, "--entrypoint", "sleep", base, "600")
    before = docker("inspect", name)
    for argv in (
        ("create-container", base, name),
        ("start-container", name),
        ("stop-container", name),
        ("delete-container", name),
        ("create-tar", name),
    ):
        done = host.run("docker", *argv, check=False)
        assert (done.returncode, "was not made by HakuRiver" in done.err) == (5, True), done.err
    assert row_of(host, name) is None
    assert docker("inspect", name) == before


def test_a_name_that_is_taken_and_one_that_is_not_there(
    host: Cluster, name: str, base: str
) -> None:
    done = host.run("docker", "create-tar", name, check=False)
    assert (done.returncode, "has no container on the host" in done.err) == (4, True)
    host.run("docker", "create-container", base, name)
    done = host.run("docker", "create-container", base, name, check=False)
    assert (done.returncode, "has a container already" in done.err) == (5, True)
    for bad in ("Upper", "a/b", "-x", "..", "a b"):
        done = host.run("docker", "create-container", "--", base, bad, check=False)
        assert done.returncode == 5, bad
        assert "no environment name" in done.err


def test_containers_stop_and_start_and_keep_what_is_in_them(
    host: Cluster, name: str, base: str
) -> None:
    prepare(host, name, base)

    def status() -> str:
        row = row_of(host, name)
        assert row is not None
        return str(row["status"])

    host.run("docker", "stop-container", name)
    assert status() == "exited"
    pack(host, name)
    assert status() == "exited", "packing starts nothing"
    host.run("docker", "start-container", name)
    assert status() == "running"
    assert docker("exec", name, "cat", "/made") == "one"
    assert docker("exec", name, "ls", "-d", "/shared") == "/shared"


# Failures leave nothing half-made


def test_an_image_that_cannot_keep_a_container_alive_is_told(
    host: Cluster, name: str, docker_images: Images
) -> None:
    image = docker_images.image(docker_images.shellless)
    done = host.run("docker", "create-container", image, name, check=False)
    assert (done.returncode, "has no program `sleep`" in done.err) == (5, True), done.err
    assert docker("ps", "-aq", "--filter", f"name={name}") == ""


def test_an_image_that_is_nowhere_is_told(host: Cluster, name: str) -> None:
    image = f"localhost:1/{name}:none"
    done = host.run("docker", "create-container", image, name, check=False)
    assert (done.returncode, "cannot be pulled" in done.err) == (5, True), done.err
    assert "docker load" in done.err


def test_a_full_disk_fails_the_packing_and_leaves_the_old_version(
    cluster: Cluster, name: str, base: str, tmp_path: Path
) -> None:
    needs.needs(needs.root())
    shared = tmp_path / "shared"
    shared.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(shared)], check=True)
    try:
        cluster.start_host(paths_shared_dir=str(shared))
        cluster.shared = shared
        prepare(cluster, name, base)
        first = pack(cluster, name)
        image = docker("image", "inspect", "--format={{.Id}}", f"hakuriver/{name}:base")
        docker("exec", name, "dd", "if=/dev/urandom", "of=/big", "bs=1M", "count=20")
        done = cluster.run("docker", "create-tar", name, check=False)
        assert (done.returncode, "No space left on device" in done.err) == (1, True), done.err
        assert "docker delete-tar" in done.err
        folder = shared / "hakuriver-containers"
        left = sorted(path.name for path in folder.iterdir() if path.name != ".loading")
        assert left == [first.with_suffix(".json").name, first.name]
        now = docker("image", "inspect", "--format={{.Id}}", f"hakuriver/{name}:base")
        assert now == image
        subprocess.run(["mount", "-o", "remount,size=80m", str(shared)], check=True)
        assert pack(cluster, name).exists()
        cluster.host.stop()
    finally:
        subprocess.run(["umount", "--lazy", str(shared)], check=True)


def test_a_host_that_is_killed_while_it_packs_leaves_nothing_half_made(
    host: Cluster, name: str, base: str
) -> None:
    prepare(host, name, base)
    docker("exec", name, "dd", "if=/dev/urandom", "of=/big", "bs=1M", "count=200")
    folder = host.shared / "hakuriver-containers"
    job = host.run("docker", "create-tar", name, "--detach").out.strip()
    wait_until(lambda: list(folder.glob(".part-*")), message="it is being saved")
    host.host.kill9()
    host.start_host()
    assert [path.name for path in folder.iterdir()] == [".loading"]
    done = host.run("docker", "jobs", job, check=False)
    assert (done.returncode, "the host has been restarted" in done.err) == (4, True)
    pack(host, name)


# Jobs


def test_jobs_go_on_without_their_client_and_others_see_them(
    host: Cluster, name: str, base: str
) -> None:
    prepare(host, name, base)
    first = host.run("docker", "create-tar", name, "--detach").out.strip()
    second = host.run("docker", "create-tar", name, "--detach").out.strip()
    assert first != second
    for job in (first, second):
        assert "is published as" in host.run("docker", "jobs", job).out
    rows = json.loads(host.run("docker", "jobs", "--json").out)
    assert [(row["job_id"], row["state"]) for row in rows[:2]] == [
        (second, "done"),
        (first, "done"),
    ]
    assert len(tarballs(host)) == 2


def test_the_routes_of_the_first_hakuriver_wait_for_the_end(
    host: Cluster, name: str, base: str
) -> None:
    body = {"image_name": base, "container_name": name}
    assert host.api("POST", "/docker/host/create", body)[0] == 201
    status, _, answer = host.api("POST", f"/docker/create_tar/{name}")
    assert (status, Path(answer["tarball_path"]).exists()) == (200, True)
    assert host.api("POST", f"/docker/host/stop/{name}")[0] == 200
    assert host.api("POST", f"/docker/host/start/{name}")[0] == 200
    listed = host.api("GET", "/docker/list")[2][name]
    assert listed["latest_tarball"] == Path(answer["tarball_path"]).name
    assert listed["all_versions"][0]["tarball"] == listed["latest_tarball"]
    rows = host.api("GET", "/docker/host/containers")[2]
    assert all({"id", "name", "image", "status"} <= row.keys() for row in rows)
    assert host.api("POST", f"/docker/host/delete/{name}")[0] == 200
    assert host.api("POST", f"/docker/host/delete/{name}")[0] == 404


# The default environment


def test_the_default_environment_is_made_at_the_start(
    cluster: Cluster, far_engine: PrivateEngine, name: str, base: str
) -> None:
    cluster.start_host(docker_default_container_name=name, docker_initial_base_image=base)
    cluster.start_runner()
    task_id = cluster.submit("echo", "made of itself")
    cluster.wait_status(task_id, "completed", timeout=60)
    assert cluster.client("logs", task_id).out == "made of itself\n"
    (tarball,) = tarballs(cluster)
    cluster.host.stop()
    cluster.start_host(docker_default_container_name=name, docker_initial_base_image=base)
    assert tarballs(cluster) == [tarball], "once is enough"


def test_a_default_environment_that_cannot_be_made_is_no_outage(
    cluster: Cluster, name: str
) -> None:
    image = f"localhost:1/{name}:none"
    cluster.start_host(docker_default_container_name=name, docker_initial_base_image=image)
    cluster.start_runner()

    def refused() -> str:
        done = cluster.client("--", "true", check=False)
        return done.err if done.returncode == 5 else ""

    message = wait_until(refused, timeout=40, message="the failure is known")
    assert "Making it failed" in message
    assert "cannot be pulled" in message
    assert cluster.client("--wait", "--container", "NULL", "--", "true").returncode == 0


# Without an engine


def test_without_an_engine_every_command_says_so_and_how_to_mend_it(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("DOCKER_HOST", f"unix://{cluster.home}/none.sock")
        cluster.start_host()
    for argv in (
        ("list-containers",),
        ("create-container", "image", "env"),
        ("start-container", "env"),
        ("stop-container", "env"),
        ("delete-container", "env"),
        ("create-tar", "env"),
    ):
        done = cluster.run("docker", *argv, check=False)
        assert done.returncode == 1, argv
        assert "there is no Docker engine on the host" in done.err
        assert "apt install docker.io" in done.err
    assert cluster.run("docker", "list-tars").returncode == 0


def test_publishing_under_load_disturbs_no_task(far: Cluster, name: str, base: str) -> None:
    """Versions come and go while tasks of the environment are started all the time."""
    prepare(far, name, base)
    pack(far, name)
    ids: list[str] = []
    for round_ in range(4):
        ids += [far.submit("cat", "/made", container_name=name, required_cores=0) for _ in range(4)]
        docker("exec", name, "sh", "-c", f"echo v{round_} > /made")
        pack(far, name)
    for task_id in ids:
        task = far.wait_status(task_id, "completed", timeout=60)
        assert task["image"], task
    assert len(tarballs(far)) == 2


def test_what_is_no_image_of_docker_is_no_environment(far: Cluster, name: str) -> None:
    path = far.shared / "hakuriver-containers" / f"{name}-1700000000.tar"
    path.write_bytes(tar_of({"bin/evil": b"x"}, {}))
    task_id = far.submit("true", container_name=name)
    message = far.wait_status(task_id, "failed")["error_message"]
    assert "not written by docker save" in message
    assert path.name in far.run("docker", "list-tars").err


def test_an_image_without_a_tarball_runs_where_it_lies(
    far: Cluster, far_engine: PrivateEngine, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("DOCKER_HOST", far_engine.address)
        import_image(f"hakuriver/{name}:base", system_tar(), ["ENV PATH=/bin"])
    assert output(far, name, "echo", "unpublished") == "unpublished\n"


# The engine goes away in the middle


def big(name: str, address: str = "") -> None:
    docker("exec", name, "dd", "if=/dev/urandom", "of=/big", "bs=1M", "count=250", address=address)


def test_an_engine_that_dies_while_it_loads_fails_the_task_and_a_retry_works(
    far: Cluster, far_engine: PrivateEngine, name: str, base: str
) -> None:
    prepare(far, name, base)
    big(name)
    pack(far, name)
    task_id = far.submit("cat", "/made", container_name=name)
    log = far.runners["far"].log
    wait_until(lambda: "INFO loading " in log.read_text(), message="it is being loaded")
    far_engine.kill9()
    try:
        task = far.wait_status(task_id, "failed", timeout=60)
        assert "cannot be loaded on far" in task["error_message"]
        assert "ngine" in task["error_message"], "it says that it was the engine"
    finally:
        far_engine.start()

    def has_engine() -> bool:
        node = far.node("far")
        return node is not None and bool(node["docker"])

    wait_until(has_engine, message="the node is whole again")
    far.client("requeue", task_id)
    far.wait_status(task_id, "completed", timeout=60)
    leases = far.shared / "hakuriver-containers" / ".loading"
    assert list(leases.iterdir()) == []


def test_an_engine_that_dies_while_it_packs_leaves_nothing_half_made(
    cluster: Cluster, far_engine: PrivateEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", far_engine.address)
    name = f"e{uuid.uuid4().hex[:10]}"
    import_image("busybox:here", system_tar(), ["ENV PATH=/bin"])
    cluster.start_host()
    cluster.run("docker", "create-container", "busybox:here", name)
    big(name)
    folder = cluster.shared / "hakuriver-containers"
    job = cluster.run("docker", "create-tar", name, "--detach").out.strip()
    wait_until(lambda: list(folder.glob(".part-*")), message="it is being saved")
    far_engine.kill9()
    done = cluster.run("docker", "jobs", job, check=False)
    try:
        assert done.returncode == 1, done.out
        assert "engine" in done.err
        assert "Traceback" not in done.err
        assert [path.name for path in folder.iterdir()] == [".loading"]
    finally:
        far_engine.start()
    cluster.run("docker", "start-container", name)
    assert pack(cluster, name).exists()
    cluster.run("docker", "delete-container", name)
    docker("rmi", "-f", "busybox:here", f"hakuriver/{name}:base", check=False)
