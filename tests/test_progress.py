"""Progress of work that may be tried again."""

from harness.progress import only_forward


def test_what_is_tried_again_is_not_told_as_less() -> None:
    told: list[tuple[str, int, int, float]] = []
    listener = only_forward(lambda *told_of: told.append(told_of))

    for done in (0, 2, 0, 1, 2, 3):  # memory ran out after 2
        listener("writing", done, 3, 0.0)

    assert told == [("writing", done, 3, 0.0) for done in (0, 2, 3)]
