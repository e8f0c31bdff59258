"""The page for administrators, docs/deploy.md, says what the files of the installation do."""

from __future__ import annotations

import re

from installation import DEPLOY, DOORS, folders, text_of, unit

PAGE = (DEPLOY.parent / "docs/deploy.md").read_text()


def installed_by_the_page() -> set[str]:
    """The files of this folder that a command of the page puts in place."""
    named = re.findall(r"deploy/((?:systemd|nftables|nginx)/[^\s;&|`]+)", PAGE)
    return {
        head + option + tail
        for head, options, tail in (re.findall(r"^([^{]*)(?:\{(.*)\})?([^}]*)$", name)[0] for name in named)
        for option in options.split(",")
    }


def test_the_page_installs_every_file() -> None:
    there = {
        f"{kind}/{file.name}" for kind in ("systemd", "nftables", "nginx") for file in (DEPLOY / kind).iterdir()
    }
    assert installed_by_the_page() == there


def test_the_page_names_every_user_with_what_it_owns() -> None:
    rows = dict(re.findall(r"^\| `([\w-]+)` \((?:hospital|coordinator)\) \| (.*?) \|", PAGE, re.M))
    systemd = "".join(text_of(f"{name}.sysusers") for name in ("cohortmix", "cohortmix-coordinator"))
    homes = dict(re.findall(r'^u (\S+) - ".*" (\S+)$', systemd, re.M))
    assert set(rows) == set(homes)
    modes = folders("cohortmix.tmpfiles") | folders("cohortmix-coordinator.tmpfiles")
    for user, has in rows.items():
        [(folder, mode)] = re.findall(r"`(/[\w/-]+)`, (0\d{3})", has)
        made = modes.get(folder) or f"{unit('superlink')['StateDirectoryMode'][0]} {user} {user}"
        assert made == f"{mode} {user} {user}", folder
    assert "`www-data` (nginx, coordinator)" in PAGE


def test_the_page_names_the_ports_that_are_closed_and_to_whom_they_are_open() -> None:
    rows = re.findall(r"^\| (.*?) \| 127\.0\.0\.1:(\d+), open to root and", PAGE, re.M)
    assert {port for _, port in rows} == {port for port, _ in DOORS.values()}
    [users] = re.findall(r"^`superlink\.nft` names the users .*?: (.*?), as which", PAGE, re.M | re.S)
    assert {"root", *re.findall(r"`([\w-]+)`", users)} == DOORS["superlink"][1]
