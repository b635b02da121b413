"""The runner's memory of what it was told: takes on orders and wishes, once each.

What it is told is in the ledger before it is answered. What is done with it: work.py.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from hakuriver.model.errors import Conflict
from hakuriver.model.messages import Attempt, Orders, OrdersAnswer, Report, RunOrder, WishOrder
from hakuriver.model.task import Ended, Result, Wish
from hakuriver.runner.job import Job, Phase
from hakuriver.runner.jobs import Jobs
from hakuriver.runner.ledger import Ledger
from hakuriver.runner.work import Hands, Worker

log = logging.getLogger(__name__)


class Agent:
    def __init__(self, *, ledger: Ledger, jobs: Jobs, worker: Worker, hands: Hands) -> None:
        self._ledger = ledger
        self._jobs = jobs
        self._worker = worker
        self._hands = hands
        self._place = worker.place

    def accept(self, message: Orders) -> OrdersAnswer:
        """Take on what is new, and say what is taken on. Raises Conflict or Unavailable."""
        if message.cluster != self._place.cluster or message.node != self._place.node:
            raise Conflict(
                f"this is node {self._place.node} of cluster {self._place.cluster},"
                f" not {message.node} of {message.cluster}"
            )
        with self._jobs.lock:
            fresh = self._fresh(message.orders)
            wishes, tombstones, taken = self._sort_wishes(message.wishes, fresh)
            if fresh or wishes or tombstones:
                self._ledger.take(fresh.values(), wishes, tombstones, boot=self._place.boot)
            begun = [self._worker.job(order) for order in fresh.values()]
            for job in begun:
                self._jobs.add(job)
            for wish, report in tombstones:
                self._jobs.add(Job(wish.key, None, report.n, phase=Phase.ENDED, final=report))
            for wish in wishes:
                self._wished(wish.key, wish.wish, wish.n)
        for job in begun:
            log.debug("task %d.%d accepted", *job.key)
            self._worker.enqueue(job)
        for wish in wishes:
            log.info("task %d.%d: %s asked for", *wish.key, wish.wish.value)
            self._fulfil_soon(wish.key)
        if tombstones:
            self._jobs.on_report(True)
        return OrdersAnswer(frozenset(order.seq for order in message.orders), frozenset(taken))

    def _fresh(self, orders: Iterable[RunOrder]) -> dict[Attempt, RunOrder]:
        """Orders that are not known, neither going on nor over, and not over for ever."""
        return {
            order.key: order
            for order in orders
            if order.seq >= self._ledger.closed_below
            and self._jobs.get(order.key) is None
            and not self._ledger.known(order.key)
        }

    def _sort_wishes(
        self, wishes: Iterable[WishOrder], fresh: Mapping[Attempt, RunOrder]
    ) -> tuple[list[WishOrder], list[tuple[WishOrder, Report]], set[tuple[int, int, int]]]:
        """New ones, tombstones for kills that overtook their order, and all that are taken on.

        A pause that overtook its order is not taken on: it will come again.
        """
        new: dict[Attempt, WishOrder] = {}
        tombstones: dict[Attempt, tuple[WishOrder, Report]] = {}
        taken: set[tuple[int, int, int]] = set()
        for wish in wishes:
            job = self._jobs.get(wish.key)
            over = wish.seq < self._ledger.closed_below or self._ledger.known(wish.key)
            if wish.key in fresh or (job is not None and not job.ended and wish.n > job.wish_n):
                new[wish.key] = wish
            elif job is None and not over:
                if wish.wish is not Wish.KILL:
                    continue
                tombstones[wish.key] = (wish, self._killed_before_start(wish))
            taken.add((wish.task, wish.attempt, wish.n))
        return list(new.values()), list(tombstones.values()), taken

    def _killed_before_start(self, wish: WishOrder) -> Report:
        return Report(
            task=wish.task,
            attempt=wish.attempt,
            n=self._jobs.number(),
            fact=Ended(Result(None, kill_sent=True)),
            wish_n=wish.n,
        )

    def kill_stale(self, keys: Iterable[Attempt]) -> None:
        """The host has given these attempts up: nobody waits for them any more."""
        for key in keys:
            with self._jobs.lock:
                job = self._jobs.get(key)
                if job is None or job.ended or job.wish is Wish.KILL:
                    continue
                self._ledger.wish(key, Wish.KILL, job.wish_n + 1)
                self._wished(key, Wish.KILL, job.wish_n + 1)
            log.warning("task %d.%d is given up by the host: killing it", *key)
            self._fulfil_soon(key)

    def _wished(self, key: Attempt, wish: Wish, n: int) -> None:
        job = self._jobs.get(key)
        if job is not None:
            job.wish, job.wish_n = wish, n

    def _fulfil_soon(self, key: Attempt) -> None:
        self._hands.verbs(lambda: self._worker.fulfil(key))
