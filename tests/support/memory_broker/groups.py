"""Consumer groups: members that give up all partitions, join again, and get them anew, each time a generation."""

import asyncio
from dataclasses import dataclass, field

from aiokafka import TopicPartition


@dataclass(eq=False)
class Member:
    """A consumer's place in its group."""

    client_id: str
    session_timeout: float
    heartbeat_interval: float
    wanted: set[TopicPartition] = field(default_factory=set)
    generation: int = -1
    rejoin: asyncio.Event = field(default_factory=asyncio.Event)
    joined: "asyncio.Future[set[TopicPartition]] | None" = None


class Group:
    """The members, the generation and the committed offsets of one group."""

    def __init__(self) -> None:
        self.generation = 0
        self.offsets: dict[TopicPartition, int] = {}
        self._members: list[Member] = []
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def members(self) -> list[str]:
        return [member.client_id for member in self._members]

    async def join(self, member: Member) -> set[TopicPartition]:
        """Return the partitions of the next generation, once every member has given up those of this one."""
        if member not in self._members:
            self._members.append(member)
        member.joined = asyncio.get_running_loop().create_future()
        member.rejoin.clear()
        self._rebalance()
        try:
            return await member.joined
        finally:
            member.joined = None

    def leave(self, member: Member) -> None:
        if member in self._members:
            self._members.remove(member)
            self._rebalance()

    def expel(self, client_id: str) -> None:
        """Go on without a member that does not know it yet."""
        for member in [each for each in self._members if each.client_id == client_id]:
            self._expel(member)
        self._rebalance()

    def accepts(self, member: Member) -> bool:
        """Whether a commit of this member still counts."""
        return member in self._members and member.generation == self.generation

    def is_empty(self) -> bool:
        return not self._members

    def _expel(self, member: Member) -> None:
        self._members.remove(member)
        asyncio.get_running_loop().call_later(member.heartbeat_interval, member.rejoin.set)

    def _rebalance(self) -> None:
        if not self._members:
            self._forget_deadline()
            return
        missing = [member for member in self._members if member.joined is None]
        if not missing:
            self._complete()
            return
        for member in missing:
            # At once, and not at the next heartbeat: that it may take longer changes nothing.
            member.rejoin.set()
        if self._deadline is None:
            longest = max(member.session_timeout for member in self._members)
            self._deadline = asyncio.get_running_loop().call_later(longest, self._go_on_without)

    def _go_on_without(self) -> None:
        self._deadline = None
        for member in [each for each in self._members if each.joined is None]:
            self._expel(member)
        self._rebalance()

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _complete(self) -> None:
        self._forget_deadline()
        self.generation += 1
        shares: dict[Member, set[TopicPartition]] = {member: set() for member in self._members}
        for number, tp in enumerate(sorted(set().union(*(member.wanted for member in self._members)))):
            takers = [member for member in self._members if tp in member.wanted]
            shares[takers[number % len(takers)]].add(tp)
        for member, share in shares.items():
            member.generation = self.generation
            assert member.joined is not None
            if not member.joined.done():
                member.joined.set_result(share)
