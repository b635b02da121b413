"""Every page and every button of it, in a real browser against a real host and runner."""

from __future__ import annotations

import os
import re
import signal

from tests.support.browser import Browser
from tests.support.cluster import Cluster
from tests.support.wait import wait_until

FULL = ["sleep", "600"]


def fill_up(cluster: Cluster) -> list[str]:
    """Four tasks that run and hold all cores of node1."""
    ids = [cluster.submit(*FULL, user="ada") for _ in range(4)]
    for task_id in ids:
        cluster.wait_status(task_id, "running")
    return ids


# Overview


def test_the_overview_of_an_empty_cluster_says_how_to_begin(
    cluster: Cluster,
) -> None:
    cluster.start_host()
    with Browser(f"http://127.0.0.1:{cluster.port}") as page:
        page.open()
        page.see("No nodes yet", "Nothing was submitted yet.")
        page.click("Add a node")
        page.see("Type this on the new machine", "runner --join", "from its own machine only")
        page.click("Copy step 2")
        page.see("Copied.")
        page.keys("\ue00c")  # Escape
        page.unsee("Type this on the new machine")
        page.check()


def test_the_overview_shows_what_runs_what_waits_and_why_and_what_failed(
    up: Cluster, page: Browser
) -> None:
    failed = up.submit("sh", "-c", "exit 7")
    up.wait_final(failed)
    running = fill_up(up)
    waiting = up.submit("sleep", "601")
    page.open()
    page.see("1 of 1", "4 of 4", "cores reserved", "memory in use", "4 tasks running")
    page.see("0 of 4 cores are free", "exit code 7", "sleep 601", waiting)
    page.see("running 4", "waiting 1", "failed 1")
    up.api("POST", f"/kill/{running[0]}")
    page.see("killed 1")
    page.see("Nothing waits.")
    page.click(failed)
    page.see(f"Task {failed}")


def test_the_charts_fill_by_themselves(up: Cluster, page: Browser) -> None:
    page.open()
    page.see("nodes up")
    page.click("24 hours")
    page.click("1 hour")
    drawn = "return [...document.querySelectorAll('.u-over')].length"
    assert page.script(drawn) == 2
    before = len(up.api("GET", "/history")[2]["t"])
    wait_until(lambda: len(up.api("GET", "/history")[2]["t"]) > before, timeout=15)
    # Nobody points at a chart: what it says in words are the last values.
    said = "return [...document.querySelectorAll('.u-legend')].map((each) => each.innerText).join()"
    told = re.compile(r"at\d\d:\d\d.*there4\b.*there\d+(\.\d)? GiB", re.DOTALL)
    wait_until(lambda: told.search(page.script(said)), message="the last values in words")


# Nodes


def test_a_node_is_drained_and_undrained_from_the_list_and_from_its_page(
    up: Cluster, page: Browser
) -> None:
    page.open("nodes")
    page.see("1 node", "node1", "up", "process")
    page.click("Drain")
    page.see("Drain node1?")
    page.click("Cancel")
    page.unsee("Drain node1?")
    assert (up.node() or {})["drained"] is None
    page.click("Drain")
    page.see("Drain node1?")
    page.click("Drain")
    page.see("drained")
    assert (up.node() or {})["drained"] is not None
    page.click("node1")
    page.see("Node node1")
    page.click("Undrain")
    page.see("gets tasks again")
    wait_until(lambda: (up.node() or {})["drained"] is None)


def test_nodes_are_sorted_by_any_column(up: Cluster, page: Browser) -> None:
    up.start_runner("another", runner_cores=1)
    page.open("nodes")
    page.see("2 nodes")
    names = "return [...document.querySelectorAll('tbody th')].map((each) => each.innerText)"
    assert page.script(names) == ["another", "node1"]
    page.click("Name")
    wait_until(lambda: page.script(names) == ["node1", "another"])
    page.click("Cores")
    wait_until(lambda: page.all("th[aria-sort=ascending]") != [])


def test_a_node_that_went_away_is_shown_as_down_and_can_be_removed(
    up: Cluster, page: Browser
) -> None:
    up.start_runner("another", runner_cores=1)
    page.open("nodes/another")
    page.see("Node another", "NUMA" if (up.node("another") or {})["numa_topology"] else "Cores")
    up.runners["another"].stop()
    page.see("down")
    page.click("Remove")
    page.see("Remove another?")
    page.click("Remove")
    page.see("Node another removed.", "1 node")


def test_the_page_of_a_node_shows_its_tasks_and_leads_to_a_task_for_its_numa_node(
    up: Cluster, page: Browser
) -> None:
    (task_id, *_) = fill_up(up)
    page.open("nodes/node1")
    page.see("Tasks here", "sleep 600", "4 of at most")
    if (up.node() or {})["numa_topology"]:
        page.click("Submit here")
        page.see("New task", "1 task, one on each place chosen.")
        page.open("nodes/node1")
        page.see("sleep 600")
    page.click(task_id)
    page.see(f"Task {task_id}")


def test_what_leaves_a_node_to_wait_again_leaves_its_page(up: Cluster, page: Browser) -> None:
    ids = [up.submit("sleep", words, required_cores=0.1) for words in ("600", "601")]
    page.open("nodes/node1")
    page.see("sleep 600", "sleep 601")
    up.runners["node1"].freeze()
    up.wait_status(ids[0], "lost")
    page.see("node silent")
    assert up.api("POST", f"/requeue/{ids[0]}")[0] == 200
    page.unsee("sleep 600")
    page.see("sleep 601")
    up.runners["node1"].thaw()


def test_more_tasks_of_a_node_than_its_page_shows_are_counted(up: Cluster, page: Browser) -> None:
    for words in ("600", "601"):
        up.submit("sleep", words, required_cores=0.1)
    page.open("tasks")
    page.see("sleep 600", "sleep 601")
    page.script(
        "const real = fetch; window.fetch = (path, ...more) => real(path.replace('limit=50', 'limit=1'), ...more)"
    )
    page.open("nodes/node1")
    page.see("sleep 601", "All 2 that are here")
    up.runners["node1"].freeze()
    page.see("down")
    page.click("Remove")
    page.see("2 tasks of it will be given up for good")
    page.click("Cancel")
    up.runners["node1"].thaw()
    page.click("All 2 that are here")
    page.see("sleep 601", "2 tasks")


def test_an_unknown_node_and_an_unknown_page_say_so(page: Browser) -> None:
    page.open("nodes/nowhere")
    page.see("There is no node nowhere.")
    page.open("nodes/constructor")
    page.see("There is no node constructor.")
    page.open("nothing/here")
    page.see("There is no such page.")
    page.open("tasks/4711")
    page.see("There is no task 4711")
    page.forgive("404")


# Tasks


def test_tasks_are_found_by_words_state_node_user_and_environment(
    up: Cluster, page: Browser
) -> None:
    for user, word in (("ada", "alpha"), ("ada", "beta"), ("bob", "alpha")):
        up.wait_final(up.submit("echo", word, user=user))
    failed = up.submit("sh", "-c", "exit 1", user="bob")
    up.wait_final(failed)
    page.open("tasks")
    page.see("4 submissions", "echo alpha")
    page.fill("Search", "alpha")
    page.see("2 submissions")
    page.fill("User", "bob")
    page.see("1 submission")
    page.click("Clear all filters")
    page.see("4 submissions")
    page.click("failed")
    page.see("1 submission", "exit code 1")
    page.click("failed")
    page.choose("Node", "node1")
    page.see("4 submissions")
    page.choose("Environment", "no container")
    page.see("4 submissions")
    page.choose("Show", "each task")
    page.see("4 tasks")
    page.click("State")
    wait_until(lambda: page.all("th[aria-sort]") != [])
    page.fill("Search", "nothing is called so")
    page.see("No task is like that.")


def test_what_is_typed_into_filters_stays_while_the_page_changes(
    up: Cluster, page: Browser
) -> None:
    """Rows that run are drawn anew each second, and people type at their own pace."""
    up.submit("sleep", "601", user="ada")
    page.open("tasks")
    page.see("sleep 601", "running")
    pace = """
        const [field, text, done] = arguments;
        let at = 0;
        const timer = setInterval(() => {
          field.value += text[at++];
          field.dispatchEvent(new Event("input", { bubbles: true }));
          if (at === text.length) { clearInterval(timer); done(field.value); }
        }, 120);"""
    words = "sleep and nothing else"
    search = page.one("input[type=search]")
    assert page.driver.execute_async_script(pace, search, words) == words
    page.see("No task is like that.")
    page.fill("Search", "sleep")
    page.fill("User", "ada")
    wait_until(lambda: page.driver.current_url.endswith("#/tasks?q=sleep&user=ada"))
    page.see("sleep 601")
    page.fill("User", "bob")
    page.open()
    page.see("nodes up", "running 1")
    assert page.driver.current_url.endswith("#/")


def test_a_batch_is_one_row_with_its_progress_and_opens_to_its_tasks(
    up: Cluster, page: Browser
) -> None:
    up.client("submit", "--sweep", "--", "sh", "-c", "exit $1", "sh", "span:{0,0,3}")
    up.wait_final("3")
    page.open("tasks")
    page.see("1 submission", "3 tasks", "3 of 3 ended: 2 completed, 1 failed")
    page.click("Tasks of batch 1")
    page.see("exit code 3")
    page.click("Tasks of batch 1")
    page.unsee("exit code 3")
    page.click("Retry failed")
    page.see("1 failed task of batch 1 waits for another attempt.")
    wait_until(lambda: up.task("3")["attempt"] == 2)


def test_a_batch_that_is_closed_before_its_tasks_have_come_stays_closed(
    up: Cluster, page: Browser
) -> None:
    up.submit_all("true", targets=["node1", "node1"])
    page.open("tasks")
    page.see("2 tasks")
    slow_down(page, "/tasks?batch=", 800)
    page.click("Tasks of batch 1")
    page.click("Tasks of batch 1")
    wait_until(lambda: page.script("return window.answered"))
    assert page.one(".fold").get_attribute("aria-expanded") == "false"
    assert not page.all("tr.inside")


def test_a_slow_answer_arrives_however_much_changes_meanwhile(up: Cluster, page: Browser) -> None:
    page.open("tasks")
    page.see("Nothing was submitted yet.")
    slow_down(page, "/batches?", 3000)
    page.script(
        "import('/dashboard/live.js').then((live) =>"
        " setInterval(() => live.EVENTS.tasks({revision: 1, tasks: [], more: true, gone: []}), 200))"
    )
    up.submit("sleep", "600")
    page.see("sleep 600")


def slow_down(page: Browser, path: str, milliseconds: int) -> None:
    """Answers to requests that begin so are late; window.answered tells that one has come."""
    page.script(
        "const [begin, late] = arguments; const real = fetch;"
        "window.fetch = async (path, more = {}) => {"
        " if (!path.startsWith(begin)) return real(path, more);"
        " await new Promise((go, stop) => { setTimeout(go, late);"
        "  more.signal?.addEventListener('abort', () => stop(more.signal.reason)); });"
        " const answer = await real(path, more);"
        " setTimeout(() => { window.answered = true; }, 200);"
        " return answer; }",
        path,
        milliseconds,
    )


def test_a_whole_batch_is_killed_with_one_button(up: Cluster, page: Browser) -> None:
    up.client("submit", "--sweep", "--", "sleep", "span:{600..620}")
    page.open("tasks")
    page.see("21 tasks")
    page.click("Kill all")
    page.see("Kill batch 1?")
    page.click("Kill all")
    page.see("Kill of 21 tasks of batch 1 requested.", "21 of 21 ended: 21 killed")


def test_pages_of_many_tasks_are_turned(up: Cluster, page: Browser) -> None:
    up.client("submit", "--sweep", "--cores", "4", "--", "sleep", "span:{1..120}")
    page.open("tasks?by=task")
    page.see("120 tasks", "Page 1 of 3", "sleep 120")
    page.click("Next")
    page.see("Page 2 of 3", "sleep 50")
    page.click("Last")
    page.see("Page 3 of 3", "sleep 2 ")
    page.click("Back")
    page.see("Page 2 of 3")
    page.click("First")
    page.see("Page 1 of 3")
    page.open("tasks?by=task&page=9")
    page.see("Page 3 of 3", "sleep 2 ")
    up.api("POST", "/batch/1/kill")


def test_a_task_is_paused_resumed_and_killed_on_its_page(up: Cluster, page: Browser) -> None:
    task_id = up.submit("sleep", "600", user="ada")
    up.wait_status(task_id, "running")
    page.open(f"tasks/{task_id}")
    page.see("running", "sleep 600", "by ada", "node1")
    page.click("Pause")
    page.see("paused")
    assert up.wait_status(task_id, "paused")
    page.click("Resume")
    page.see("running")
    page.click("Kill")
    page.see(f"Kill task {task_id}?")
    page.click("Cancel")
    page.unsee(f"Kill task {task_id}?")
    page.click("Kill")
    page.see(f"Kill task {task_id}?")
    page.click("Kill")
    page.see("killed")
    assert up.wait_final(task_id)["status"] == "killed"


def test_why_a_task_waits_is_kept_up_though_the_task_does_not_change(
    up: Cluster, page: Browser
) -> None:
    up.submit("sleep", "600")
    waits = up.submit("true", required_cores=4)
    page.open(f"tasks/{waits}")
    page.see("waiting", "Waits: ")
    page.unsee("a new disk")
    with Browser(page.url) as other:
        other.open("tasks")
        other.see("waiting", "true")
        up.api("POST", "/nodes/node1/drain", {"reason": "a new disk"})
        page.see("a new disk")
        other.see("a new disk")


def test_an_answer_from_before_a_change_does_not_undo_it(up: Cluster, page: Browser) -> None:
    task_id = up.submit("sleep", "600")
    up.wait_status(task_id, "running")
    page.open("tasks")
    page.see("running")
    page.script(
        "const real = fetch; window.fetch = async (path, more) => { const answer = await real(path, more);"
        " if (path.startsWith('/status/')) { window.asked = true; await new Promise((go) => setTimeout(go, 3000));"
        " setTimeout(() => { window.answered = true; }, 200); } return answer; }"
    )
    page.open(f"tasks/{task_id}")
    wait_until(lambda: page.script("return window.asked"))
    up.client("kill", task_id)
    page.see("killed")
    wait_until(lambda: page.script("return window.answered"))
    page.one(".badge.is-killed")


def test_a_task_shows_everything_that_is_known_of_it(up: Cluster, page: Browser) -> None:
    task_id = up.submit("sh", "-c", "exit 5", "it's", env_vars={"COLOUR": "blue"}, user="ada")
    up.wait_final(task_id)
    page.open(f"tasks/{task_id}")
    page.see("failed", "sh -c 'exit 5' 'it'\\''s'", "Exit code 5")
    page.click("Everything else that is known")
    page.see("COLOUR=blue", '["sh","-c","exit 5","it\'s"]', "process")
    page.click("Less")
    page.unsee("COLOUR=blue")
    page.click("Copy the command line")
    page.see("Copied.")


def test_a_failed_task_is_run_again_and_a_finished_one_resubmitted(
    up: Cluster, page: Browser
) -> None:
    task_id = up.submit("sh", "-c", "exit 5", user="ada")
    up.wait_final(task_id)
    page.open(f"tasks/{task_id}")
    page.click("Run again")
    page.see(f"Run task {task_id} again?")
    page.click("Run again")
    wait_until(lambda: up.task(task_id)["attempt"] == 2)
    up.wait_final(task_id)
    page.click("Resubmit …")
    page.see("New task", "exit 5")
    page.click("Submit")
    page.see("Task 2 is submitted.")
    assert up.wait_final("2")["exit_code"] == 5


def test_a_resubmitted_task_is_the_same_whatever_the_host_has_as_defaults(
    up: Cluster, page: Browser
) -> None:
    variables = {"SPACES": " a  b ", "LINES": "one\ntwo\n=three", "EMPTY": ""}
    task_id = up.submit("env", env_vars=variables, container_name="NULL", required_cores=0)
    page.open(f"submit?like={task_id}")
    page.see("1 task will be submitted.")
    shown = "return [...document.querySelectorAll('.fields select')].map((each) => each.value)"
    assert page.script(shown) == ["NULL", "no"]
    page.click("Submit")
    page.see("Task 2 is submitted.")
    assert up.task("2")["env_vars"] == variables
    # What is changed by hand is read by lines again.
    page.open(f"submit?like={task_id}")
    page.see("1 task will be submitted.")
    page.fill("Environment variables", "ONE=1")
    page.click("Submit")
    page.see("Task 3 is submitted.")
    assert up.task("3")["env_vars"] == {"ONE": "1"}
    # Another one in the address is another form.
    page.open(f"submit?like={task_id}")
    page.see("1 task will be submitted.")
    page.script("location.hash = '#/submit?like=3'")
    variables_shown = "return document.querySelectorAll('textarea')[1].value"
    wait_until(lambda: page.script(variables_shown) == "ONE=1")
    page.fill("Cores", "Infinity")
    page.see("A number, such as 2 or 0.5")


def test_a_task_of_a_silent_node_is_given_up_or_run_again(up: Cluster, page: Browser) -> None:
    first, second = up.submit("sleep", "600"), up.submit("sleep", "601")
    for task_id in (first, second):
        up.wait_status(task_id, "running")
    os.kill(up.runners["node1"].pid, signal.SIGKILL)
    up.wait_status(first, "lost")
    page.open(f"tasks/{first}")
    page.see("node silent")
    page.click("Give up")
    page.see(f"Give up task {first}?")
    page.click("Give up")
    page.see("failed")
    page.open(f"tasks/{second}")
    page.click("Run again")
    page.see("It may still be running")
    page.click("Run again")
    page.see("waiting")
    assert up.task(second)["attempt"] == 2
    up.runners["node1"].start()


# New task


def test_a_task_is_submitted_as_it_would_be_typed(up: Cluster, page: Browser) -> None:
    page.open("submit")
    page.fill("Command line", "printf '%s|' \"a b\" $HOME 'it'\\''s'")
    page.see("The program gets exactly these words:", "a b", "$HOME", "it's")
    page.fill("Cores", "0.5")
    page.fill("Memory", "512M")
    page.see("Limit: 512 MiB")
    page.fill("Environment variables", "A=1\nB=two words")
    page.click("node1")
    page.see("1 task will be submitted.")
    page.click("Submit")
    page.see("Task 1 is submitted.", "a b|$HOME|it's|")
    task = up.wait_final("1")
    assert (task["command"], task["arguments"]) == ("printf", ["%s|", "a b", "$HOME", "it's"])
    assert task["required_cores"] == 0.5
    assert task["required_memory_bytes"] == 512 << 20
    assert task["env_vars"] == {"A": "1", "B": "two words"}
    assert task["target_node"] == "node1"


def test_what_is_left_empty_is_not_sent(up: Cluster, page: Browser) -> None:
    page.open("submit")
    page.fill("Command line", "true")
    page.click("Submit")
    page.see("Task 1 is submitted.")
    task = up.task("1")
    assert task["required_cores"] == 1
    assert task["container_name"] is None
    assert not task["additional_mounts"]


def test_a_sweep_shows_how_many_tasks_it_makes(up: Cluster, page: Browser) -> None:
    page.open("submit")
    page.fill("Command line", "echo span:{1..3} span:{a,b}")
    page.see("6 tasks, such as:", "echo 1 a", "6 tasks will be submitted.")
    page.click("node1")
    page.click("Submit 6 tasks")
    page.see("6 tasks are submitted as batch 1.")
    for number in range(1, 7):
        assert up.wait_final(str(number))["status"] == "completed"


def test_what_cannot_be_submitted_is_said_where_it_is_typed(up: Cluster, page: Browser) -> None:
    page.open("submit")
    page.fill("Command line", "echo 'half")
    page.see("is not closed")
    page.fill("Command line", "echo span:{1..")
    page.see("span:")
    page.fill("Command line", "-x")
    page.see("the command begins with '-'")
    page.fill("Command line", "true")
    page.fill("Cores", "many")
    page.see("A number, such as 2")
    page.fill("Memory", "a lot")
    page.see("A size, such as 512M")
    page.fill("Environment variables", "no equals sign")
    page.see("One NAME=VALUE")
    page.fill("Mounts", "here")
    page.see("One SRC:DST")
    page.click("Submit")
    assert up.api("GET", "/tasks")[2] == []
    page.fill("Cores", "1")
    page.fill("Memory", "")
    page.fill("Environment variables", "")
    page.fill("Mounts", "/etc:/data:ro")
    page.choose("Environment", "no container, directly on the node")
    page.click("Submit")
    page.see("ounts and no container do not go together")
    page.forgive("422")
