"""What bench/house.py counts, of a small house."""

from pathlib import Path

import pytest

from bench import house

FILES = {
    "hsrv/__init__.py": '"""A house."""\n',
    "hsrv/low/__init__.py": "",
    "hsrv/low/one.py": "class One:\n    def __init__(self):\n        self.a = self.b = 1\n",
    "hsrv/high.py": "from hsrv.low.one import One\n\n\nclass Two(One):\n    def c(self):\n        self.c = 2\n",
    "worker/__init__.py": "",
    "worker/main.py": "from hsrv.worker import other\n",
    "worker/other.py": "if TYPE_CHECKING:\n    import hsrv.worker.main\n",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "hsrv/worker").symlink_to("../worker")
    return tmp_path


def test_each_file_is_counted_once_under_the_name_it_is_imported_by(tree: Path) -> None:
    assert house.modules(tree).keys() == {
        "hsrv",
        "hsrv.high",
        "hsrv.low",
        "hsrv.low.one",
        "hsrv.worker",
        "hsrv.worker.main",
        "hsrv.worker.other",
    }


def test_what_a_class_inherits_counts_where_it_is_asked_for(tree: Path) -> None:
    parsed = house.read(tree)
    assert house.Class("Two", 3, 2) in house.classes(parsed, inherited=True)
    assert house.Class("Two", 1, 1) in house.classes(parsed, inherited=False)


def test_circles_count_imports_for_types(tree: Path) -> None:
    edges = house.imports(house.read(tree))
    assert house.circles(edges) == [["hsrv.worker.main", "hsrv.worker.other"]]
    assert house.folders(edges, tree) == {"hsrv": {"hsrv/low"}, "hsrv/low": set(), "worker": set()}


def test_the_report_tells_all_of_it(tree: Path) -> None:
    report = house.report(tree)
    assert "files: 7" in report
    assert "circles of files: 2 (hsrv.worker.main, hsrv.worker.other)" in report
    assert "circles of folders: none" in report
