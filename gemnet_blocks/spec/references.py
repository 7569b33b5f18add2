"""The papers that descriptions of architectures cite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reference:
    """A paper.

    Attributes:
        authors: the authors as in BibTeX, separated by "and".
        title: the title.
        venue: the journal or conference.
        year: the year of publication.
        arxiv: the number of the preprint.
    """

    authors: str
    title: str
    venue: str
    year: int
    arxiv: str

    @property
    def text(self) -> str:
        """The reference in one line."""
        first, *others = self.authors.split(" and ")
        names = first.split(",")[0] + (" et al." if others else "")
        return f"{names}, {self.title}, {self.venue} ({self.year}), arXiv {self.arxiv}."

    def bibtex(self, key: str) -> str:
        """Return the entry of a BibTeX file."""
        fields = {
            "author": self.authors,
            "title": f"{{{self.title}}}",
            "journal": self.venue,
            "year": str(self.year),
            "eprint": self.arxiv,
            "archiveprefix": "arXiv",
        }
        return f"@article{{{key},\n" + "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items()) + "}\n"


REFERENCES: Mapping[str, Reference] = {
    "gasteiger2022": Reference(
        "Gasteiger, Johannes and Shuaibi, Muhammed and Sriram, Anuroop and Günnemann, Stephan and "
        "Ulissi, Zachary and Zitnick, C. Lawrence and Das, Abhishek",
        "GemNet-OC: Developing Graph Neural Networks for Large and Diverse Molecular Simulation Datasets",
        "Transactions on Machine Learning Research",
        2022,
        "2204.02782",
    ),
    "gasteiger2021": Reference(
        "Gasteiger, Johannes and Becker, Florian and Günnemann, Stephan",
        "GemNet: Universal Directional Graph Neural Networks for Molecules",
        "Advances in Neural Information Processing Systems",
        2021,
        "2106.08903",
    ),
    "gasteiger2020": Reference(
        "Gasteiger, Johannes and Groß, Janek and Günnemann, Stephan",
        "Directional Message Passing for Molecular Graphs",
        "International Conference on Learning Representations",
        2020,
        "2003.03123",
    ),
    "unke2021": Reference(
        "Unke, Oliver T. and Chmiela, Stefan and Gastegger, Michael and Schütt, Kristof T. and "
        "Sauceda, Huziel E. and Müller, Klaus-Robert",
        "SpookyNet: Learning Force Fields with Electronic Degrees of Freedom and Nonlocal Effects",
        "Nature Communications",
        2021,
        "2105.00304",
    ),
    "schutt2021": Reference(
        "Schütt, Kristof T. and Unke, Oliver T. and Gastegger, Michael",
        "Equivariant Message Passing for the Prediction of Tensorial Properties and Molecular Spectra",
        "International Conference on Machine Learning",
        2021,
        "2102.03150",
    ),
    "batzner2022": Reference(
        "Batzner, Simon and Musaelian, Albert and Sun, Lixin and Geiger, Mario and Mailoa, Jonathan P. and "
        "Kornbluth, Mordechai and Molinari, Nicola and Smidt, Tess E. and Kozinsky, Boris",
        "E(3)-Equivariant Graph Neural Networks for Data-Efficient and Accurate Interatomic Potentials",
        "Nature Communications",
        2022,
        "2101.03164",
    ),
    "geiger2022": Reference(
        "Geiger, Mario and Smidt, Tess",
        "e3nn: Euclidean Neural Networks",
        "arXiv",
        2022,
        "2207.09453",
    ),
}
"""The papers by the keys of citations."""
