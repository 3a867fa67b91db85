import unittest

from shelf.slugs import slug


class Slugs(unittest.TestCase):
    def test_plain_words(self) -> None:
        self.assertEqual("dune", slug("Dune"))

    def test_an_apostrophe_leaves_no_gap(self) -> None:
        self.assertEqual("cats-cradle", slug("Cat's Cradle"))

    def test_a_run_of_signs_is_one_dash(self) -> None:
        self.assertEqual("war-peace", slug("War & Peace"))

    def test_no_dash_at_the_ends(self) -> None:
        self.assertEqual("who", slug("¿Who?"))

    def test_accents_are_dropped(self) -> None:
        self.assertEqual("emile-zola", slug("Émile Zola"))
