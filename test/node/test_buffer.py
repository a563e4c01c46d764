"""Matching by stamp, with numbers worked out by hand; times are in milliseconds."""

from uop3d_ros.buffer import Limits, Matcher

MS = 1_000_000
LIMITS = Limits(keep_ns=1000 * MS, keep=40, slop_ns=10 * MS, depth_slop_ns=20 * MS, depth_wait_ns=100 * MS)


def matched(matches):
    return [(m.stamp_ns // MS, m.image, m.detections, m.depth) for m in matches]


def image(matcher, ms):
    matches, _ = matcher.image(ms * MS, f"i{ms}")
    return matched(matches)


def detections(matcher, ms):
    return matched(matcher.detections(ms * MS, f"d{ms}"))


def depth(matcher, ms):
    return matched(matcher.depth(ms * MS, f"z{ms}"))


def test_late_detections_find_their_image():
    matcher = Matcher(LIMITS)
    for ms in (0, 33, 66, 100):
        assert image(matcher, ms) == []
    [match] = matcher.detections(33 * MS, "d33")
    assert matched([match]) == [(33, "i33", "d33", None)]
    assert match.lag_ns == 67 * MS
    assert (matcher.counts.matched, matcher.counts.unmatched) == (1, 0)


def test_detections_may_come_before_the_image():
    matcher = Matcher(LIMITS)
    assert detections(matcher, 33) == []
    assert image(matcher, 0) == []
    assert image(matcher, 33) == [(33, "i33", "d33", None)]


def test_the_nearest_image_within_the_slop():
    matcher = Matcher(LIMITS)
    image(matcher, 0), image(matcher, 33)
    assert detections(matcher, 25) == [(33, "i33", "d25", None)]
    assert detections(matcher, 16) == []
    assert matcher.counts.unmatched == 1  # 17 ms are too many, and a newer image is there already
    assert detections(matcher, 50) == [] and matcher.counts.unmatched == 1  # its image may still come
    assert image(matcher, 66) == [] and matcher.counts.unmatched == 2


def test_images_are_let_go_of_after_a_while():
    matcher = Matcher(LIMITS)
    for ms in range(0, 1300, 100):
        image(matcher, ms)
    assert detections(matcher, 100) == [] and matcher.counts.unmatched == 1
    assert detections(matcher, 300) == [(300, "i300", "d300", None)]
    few = Matcher(Limits(keep=2))
    for ms in (0, 33, 66):
        image(few, ms)
    assert detections(few, 0) == [] and detections(few, 33) != []


def test_time_that_goes_back_begins_anew():
    matcher = Matcher(LIMITS)
    image(matcher, 5000), detections(matcher, 5500)
    matches, back = matcher.image(100 * MS, "again")
    assert back and matches == [] and matcher.counts.restarts == 1
    assert detections(matcher, 100) == [(100, "again", "d100", None)]
    assert image(matcher, 5500) == []  # what waited from before is gone


def test_a_little_disorder_is_none():
    matcher = Matcher(LIMITS)
    image(matcher, 66)
    matches, back = matcher.image(33 * MS, "i33")
    assert not back and matcher.counts.restarts == 0
    assert detections(matcher, 33) == [(33, "i33", "d33", None)]
    assert matcher.newest_image == (66 * MS, "i66")


def test_depth_is_waited_for_but_not_forever():
    matcher = Matcher(LIMITS, depth=True)
    image(matcher, 0)
    assert detections(matcher, 0) == []
    assert depth(matcher, 15) == [(0, "i0", "d0", "z15")]
    image(matcher, 33)
    assert detections(matcher, 33) == [(33, "i33", "d33", "z15")]
    image(matcher, 66)
    assert detections(matcher, 66) == []
    assert depth(matcher, 100) == [(66, "i66", "d66", None)]  # newer depth came: its own will not
    image(matcher, 200)
    assert detections(matcher, 200) == []
    assert image(matcher, 310) == [(200, "i200", "d200", None)]  # images go on without depth
    assert matcher.counts.without_depth == 2


def test_images_alone():
    matcher = Matcher(LIMITS, detections=False)
    assert image(matcher, 0) == [(0, "i0", None, None)]
    assert image(matcher, 33) == [(33, "i33", None, None)]


def test_one_image_answers_two_detectors():
    matcher = Matcher(LIMITS)
    image(matcher, 0)
    assert detections(matcher, 0) != [] and detections(matcher, 5) == [(0, "i0", "d5", None)]


def test_a_flood_of_detections_without_images_is_bounded():
    matcher = Matcher(LIMITS)
    for ms in range(10_000):
        detections(matcher, ms)
    assert len(matcher._waiting.stamps) == LIMITS.keep
