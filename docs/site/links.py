"""A hook of mkdocs: links from pages to files of the repository, such as ../workflow/config/paper.yaml.

They work on a forge as they stand. The site takes each file that is linked in as a page of its own, so that they work there
too, without knowing where the repository is published.
"""

import os
import re
from pathlib import Path, PurePosixPath

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent.parent
LINK = re.compile(r"\]\((\.\./[^)#\s]+)")
LANGUAGES = {".py": "python", ".sh": "bash", ".smk": "python", ".toml": "toml", ".json": "json"} | dict.fromkeys(
    (".yaml", ".yml", ".cff"), "yaml"
)


def outside(page: str, link: str) -> str | None:
    """The repository's file that a link on that page (a path in docs/) leads to, or None if it stays within docs/."""
    target = os.path.normpath(PurePosixPath("docs", page).parent / link)
    return target if not target.startswith(("docs/", "..")) and (ROOT / target).is_file() else None


def on_files(files, config):
    """Adds a page for every file of the repository that a page links to."""
    linked = set()
    for page in files.documentation_pages():
        linked |= {outside(page.src_uri, link) for link in LINK.findall(page.content_string)}
    for path in sorted(linked - {None}):
        content = (ROOT / path).read_text(encoding="utf-8")
        if path == "README.md":
            text = content.replace("](docs/", "](../")
        else:
            language = LANGUAGES.get(Path(path).suffix, "text")
            # The search would show them whole.
            text = f"---\nsearch: {{exclude: true}}\n---\n# {path}\n\n``````{language}\n{content}\n``````\n"
        files.append(File.generated(config, f"repository/{path}.md", content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Points these links at those pages."""
    here = page.file.src_uri

    def replaced(found: re.Match) -> str:
        path = outside(here, found[1])
        return f"]({os.path.relpath(f'repository/{path}.md', PurePosixPath(here).parent)}" if path else found[0]

    return LINK.sub(replaced, markdown)
