import unittest

from shelf.durations import seconds


class Durations(unittest.TestCase):
    def test_one_part(self) -> None:
        self.assertEqual(1209600, seconds("2w"))

    def test_parts_add_up(self) -> None:
        self.assertEqual(777600, seconds("1w 2d"))

    def test_blanks_do_not_matter(self) -> None:
        self.assertEqual(5400, seconds("1h30m"))

    def test_what_is_no_duration_is_refused(self) -> None:
        for text in ("", "soon", "3x", "1h soon"):
            with self.subTest(text), self.assertRaises(ValueError):
                seconds(text)
