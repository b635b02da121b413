"""A cluster of one host and two runners, and a fate that is drawn from a seed.

Every step is one of: a message arrives, is lost or repeated; a program does its next piece of work,
dies or is started again; a command begins or ends; a user asks for something; time passes. At
points inside a piece of work others may come first, or the program dies right there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from hakuriver.model.errors import HakuRiverError
from tests.simulation.host_side import Host, Weather
from tests.simulation.network import Crash, Network, Packet, Program
from tests.simulation.runner_side import Node, Runner
from tests.simulation.users import Users
from tests.simulation.witness import Witness
from tests.support.fake_driver import Keeper, Machine

NAMES = ("n1", "n2")
CODES = (0, 0, 0, 1, 130)
Action = tuple[float, str, Callable[[], None]]

_CRASH, _NESTED = 0.015, 0.12
_DEPTH = 2


class Simulation(Weather):
    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = Random(seed)
        self.log: list[str] = []
        self.time = 1_000_000.0
        self.calm, self.still = False, False
        self.full: set[str] = set()
        self.away = NAMES[1] if self.rng.random() < 0.15 else ""
        self._folder = folder
        self._depth = 0
        self._dead: list[Host | Runner] = []
        for name in ("shared/task_outputs", "shared/task_errors"):
            (folder / name).mkdir(parents=True)
        self.nodes = {name: self._node(name) for name in NAMES}
        self.programs: dict[str, Host | Runner] = {}
        self.network = Network(self.rng, self.programs.get)
        self.witness = Witness()
        self.users = Users(self.rng, self.witness, self.host)
        # How bad it gets differs from seed to seed: rare misfortunes alone find other bugs.
        self.misery = self.rng.choice((0.2, 1.0, 3.0))
        # With room for one order only in a message, wishes overtake the orders that they are about.
        self.message_characters = self.rng.choice((5, 4 << 20))

    def _node(self, name: str) -> Node:
        folder = self._folder / name
        node = Node(name, folder, Machine(lambda: self.time + node.skew), 0.0)
        node.skew = self.rng.choice((0.0, 0.0, -4000.0, 0.5, 5000.0))
        node.ledger_folder().mkdir(parents=True)
        return node

    def host(self) -> Host | None:
        host = self.programs.get("host")
        return host if isinstance(host, Host) else None

    def runners(self) -> list[Runner]:
        return [program for program in self.programs.values() if isinstance(program, Runner)]

    # What programs see of it

    def now(self) -> float:
        return self.time

    def disk_full(self, name: str) -> bool:
        return name in self.full

    def point(self, program: Program, name: str) -> None:
        if self.calm:
            return
        if not program.alive:
            raise Crash(program)
        lot = self.rng.random()
        if lot < _CRASH * self.misery:
            self.note(f"{program.name} dies {name}")
            raise Crash(program)
        starting = program.name not in self.programs
        if lot > 1 - _NESTED and self._depth < _DEPTH and not starting and "locked" not in name:
            self.note(f"({program.name} is interrupted {name}")
            self._depth += 1
            try:
                self.step()
            finally:
                self._depth -= 1
            self.note(")")
        if not program.alive:
            raise Crash(program)

    def note(self, what: str) -> None:
        self.log.append(f"{self.time - 1_000_000:8.1f} {'  ' * self._depth}{what}")

    # Steps

    def step(self) -> None:
        actions = list(self.actions())
        _, name, act = self.rng.choices(actions, [action[0] for action in actions])[0]
        self.perform(name, act)

    def perform(self, name: str, act: Callable[[], None]) -> None:
        self.note(name)
        try:
            act()
        except Crash as crash:
            self.bury(crash.program)
        if not self._depth:
            while self._dead:
                self._dead.pop().close()

    def bury(self, program: Program) -> None:
        """What it was in the middle of goes on unwinding; its files are closed when that is done."""
        if not program.alive:
            return
        program.die()
        self.network.forget(program)
        if self.programs.get(program.name) is program:
            del self.programs[program.name]
        assert isinstance(program, Host | Runner)
        self._dead.append(program)

    def actions(self) -> Iterator[Action]:
        yield from self._work()
        yield from self._arrivals()
        yield from self._machines()
        if not self.calm:
            yield from self._misfortunes()
            yield from self.users.actions()
            yield 2, "time passes", self._pass_time
            yield 0.15, "much time passes", lambda: self._pass_time(25.0)

    def _pass_time(self, seconds: float = 0.0) -> None:
        # Fractions of two: the times of files are exact then.
        self.time += seconds or self.rng.choice((1 / 64, 1 / 8, 1.0, 1.0, 3.0, 6.0))

    def _work(self) -> Iterator[Action]:
        host = self.host()
        if host is not None:
            if host.can_place():
                yield 4, "host places", host.place
            if host.can_scan():
                yield 2, "host scans", host.scan
            for node, line in host.lines.items():
                if line.ready(self.time):
                    yield 4, f"host dispatches to {node}", lambda node=node: host.dispatch(node)
        for runner in self.runners():
            yield from _work_of(runner)

    def _arrivals(self) -> Iterator[Action]:
        packets = self.network.packets
        if packets:
            yield 6.0, "a packet arrives", self._deliver
        if self.calm:
            return
        if packets:
            yield 0.5 * self.misery, "a packet is lost", lambda: self.network.lose(self._packet())
            yield 0.5 * self.misery, "a packet is doubled", self._double
        if self.network.requests:
            yield 0.7 * self.misery, "an old request turns up", self._unearth
        if self.network.waiting:
            yield 0.4 * self.misery, "a caller gives up", self._give_up

    def _packet(self) -> Packet:
        packet = self.rng.choice(self.network.packets)
        self.note(f"  {packet}")
        return packet

    def _deliver(self) -> None:
        # In order in the calm: what is left of the storm then comes before what is new.
        packet = self.network.packets[0] if self.calm else self._packet()
        self.network.deliver(packet)

    def _double(self) -> None:
        if len(self.network.packets) < 40:
            self.network.repeat(self._packet())

    def _unearth(self) -> None:
        packet = self.rng.choice(self.network.requests)
        self.note(f"  {packet}")
        self.network.unearth(packet)

    def _give_up(self) -> None:
        call = self.rng.choice(self.network.waiting)
        self.note(f"  {call.caller.name} of {call.route}")
        self.network.give_up(call)

    def _machines(self) -> Iterator[Action]:
        for node in self.nodes.values():
            machine = node.machine
            for keeper in machine.alive():
                if keeper.stopped:
                    continue
                what = f"{keeper.key} on {node.name}"
                if not keeper.claimed:
                    yield 3, f"keeper of {what} claims", lambda k=keeper, m=machine: m.claim(k)
                elif not self.still:
                    yield (
                        0.3,
                        f"command of {what} ends",
                        lambda k=keeper, m=machine: self._end(m, k),
                    )

    def _end(self, machine: Machine, keeper: Keeper) -> None:
        machine.end(keeper, self.rng.choice(CODES))

    def _misfortunes(self) -> Iterator[Action]:
        bad = self.misery
        for name, program in list(self.programs.items()):
            yield 0.1 * bad, f"{name} is killed", lambda p=program: self.bury(p)
        if self.host() is None:
            yield 3, "host starts", self.start_host
        for node in self.nodes.values():
            if node.name not in self.programs:
                yield 3, f"{node.name} starts", lambda n=node: self.start_runner(n)
            yield 0.06 * bad, f"{node.name} reboots", lambda n=node: self._reboot(n)
            problem = "" if node.problem else "the shared directory is not mounted"
            weight = 0.5 if node.problem else 0.05 * bad
            yield (
                weight,
                f"{node.name} has {problem or 'no problem'}",
                lambda n=node, p=problem: setattr(n, "problem", p),
            )
            weight = 0.5 if node.name in self.network.cut else 0.05 * bad
            yield (
                weight,
                f"{node.name}'s cable",
                lambda n=node: self.network.cut.symmetric_difference_update({n.name}),
            )
        for name in ("host", *NAMES):
            weight = 1.0 if name in self.full else 0.04 * bad
            yield (
                weight,
                f"disk of {name}",
                lambda n=name: self.full.symmetric_difference_update({n}),
            )

    def _reboot(self, node: Node) -> None:
        program = self.programs.get(node.name)
        if program is not None:
            self.bury(program)
        for keeper in node.machine.alive():
            self.witness.interrupted.add(keeper.key)
        node.machine.reboot()

    # Programs

    def start_host(self) -> None:
        host = Host(self._folder, self, self.network, self.witness.changed)
        try:
            host.start()
        except HakuRiverError as error:
            self.note(f"  {error}")
            self.bury(host)
        else:
            self.programs["host"] = host

    def start_runner(self, node: Node) -> None:
        runner = Runner(node, self._folder / "shared", self, self.network)
        try:
            runner.start()
        except HakuRiverError as error:
            # It could not write its ledger: it says so and ends.
            self.note(f"  {error}")
            self.bury(runner)
        else:
            self.programs[node.name] = runner

    def stop_runner(self, runner: Runner) -> None:
        runner.stop()
        self.network.forget(runner)
        del self.programs[runner.name]

    # The end

    def heal(self) -> None:
        """From here on nothing goes wrong any more, but what has gone wrong may still come out.

        Commands go on until `still` is taken back.
        """
        self.calm, self.still = True, True
        self.note("THE STORM IS OVER")
        self.full.clear()
        self.network.cut = {self.away} - {""}
        for node in self.nodes.values():
            node.problem = ""
            if node.name not in self.programs and node.name != self.away:
                self.perform(f"{node.name} starts", lambda n=node: self.start_runner(n))
        if self.host() is None:
            self.perform("host starts", self.start_host)
        for call in list(self.network.waiting):
            if not any(packet.call is call for packet in self.network.packets):
                self.network.give_up(call)

    def replay(self) -> None:
        """Every request that was ever made arrives once more, in any order."""
        old = list(self.network.requests)
        self.rng.shuffle(old)
        for packet in old:
            self.network.unearth(packet)

    def settle(self, seconds: int) -> None:
        """Let everything happen that is going to."""
        for _ in range(seconds):
            for _ in range(2000):
                actions = list(self.actions())
                if not actions:
                    break
                _, name, act = actions[0]
                self.perform(name, act)
            else:
                raise AssertionError("it never comes to rest")
            for call in list(self.network.waiting):
                self.network.give_up(call)
            self.time += 1.0

    def close(self) -> None:
        for program in [*self.programs.values(), *self._dead]:
            program.close()


def _work_of(runner: Runner) -> Iterator[Action]:
    name, queues = runner.name, runner.queues
    if runner.can_do(queues.starts):
        yield 4, f"{name} starts the next", lambda: runner.do(queues.starts)
    if runner.can_do(queues.verbs):
        yield 4, f"{name} does the next", lambda: runner.do(queues.verbs)
    if runner.timer_due():
        yield 4, f"{name}'s timer", runner.fire
    if runner.driver is not None and runner.driver.news():
        yield 1, f"{name}'s driver tells", runner.driver.tell
    if runner.can_beat():
        yield 3, f"{name}'s heart beats", runner.beat
    if runner.can_report():
        yield 4, f"{name} reports", runner.report
