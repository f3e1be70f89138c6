"""The words of rights and identities."""

from rollout.core.access import Identity, Right


def test_every_right_is_on_one_of_our_resources() -> None:
    assert {right.resource for right in Right} == {"releases", "freezes", "servicepolicies"}
    assert [right for right in Right if right.resource == "freezes"] == [Right.FREEZE, Right.UNFREEZE]
    assert Right.WRITE_POLICY.resource == "servicepolicies"


def test_no_two_rights_are_the_same_question() -> None:
    assert len({(right.value, right.resource) for right in Right}) == len(Right)


def test_what_a_token_said_is_not_printed() -> None:
    who = Identity(name="github:repo:acme/checkout", issuer="github", claims={"jti": "planted"}, extra={"k": ("v",)})
    assert "planted" not in repr(who)
    assert "planted" not in str(who)
