"""Gates that answer what a test says."""

from rollout.core.gating import Answer, Question


class FakeGatekeeper:
    """`ports.Gatekeeper`: answers by the gate's name, and nothing (yet) where none is set.

    What was answered to an attempt stays its answer, whatever the gate says later.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        """What each gate says, by its name; may be changed at any time."""
        self.asked: dict[tuple[str, int], Question] = {}
        """Every question, by its key and attempt: asking twice is asking once."""
        self._said: dict[tuple[str, int], Answer] = {}

    def ask(self, question: Question) -> Answer | None:
        """As the port says."""
        place = (question.key, question.attempt)
        self.asked[place] = question
        if place not in self._said and question.gate.kind != "approval" and question.gate.name in self.answers:
            self._said[place] = self.answers[question.gate.name]
        return self._said.get(place)

    def forget(self, uid: str) -> None:
        """As the port says."""
        forgotten = {place for place, one in self.asked.items() if one.uid == uid}
        self.asked = {place: one for place, one in self.asked.items() if place not in forgotten}
        self._said = {place: one for place, one in self._said.items() if place not in forgotten}
