"""The container: its command is one that Streamlit takes, and the parts that name a port name the same."""

import json
import re
import shlex
from pathlib import Path

import yaml
from streamlit.web import cli

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
SHELL, FLAG, COMMAND = json.loads(re.findall(r"^CMD (\[.*\])$", TEXT, re.MULTILINE)[-1])
SPACE_ONLY = "${SPACE_ID:+--server.enableXsrfProtection false}"


def options(command: str) -> dict[str, str]:
    """The options of a command that runs the app."""
    words = shlex.split(command.replace("exec ", "", 1))
    assert words[:5] == ["python", "-m", "streamlit", "run", "app.py"]
    return dict(zip(words[5::2], words[6::2], strict=True))


def test_streamlit_knows_every_option_and_the_cookie_check_is_off_in_a_space_alone() -> None:
    assert (SHELL, FLAG) == ("sh", "-c")
    assert COMMAND.endswith(SPACE_ONLY)
    given = options(COMMAND.replace(SPACE_ONLY, ""))
    in_space = options(COMMAND.replace(SPACE_ONLY, SPACE_ONLY.removeprefix("${SPACE_ID:+").removesuffix("}")))
    known = {option for one in cli.main_run.params for option in one.opts}
    assert set(in_space) <= known
    assert in_space.items() - given.items() == {("--server.enableXsrfProtection", "false")}
    assert given["--server.address"] == "0.0.0.0"


def test_port_is_the_same_everywhere_and_the_user_has_no_privileges() -> None:
    front = yaml.safe_load((ROOT / "space" / "README.md").read_text(encoding="utf-8").split("---")[1])
    assert (front["sdk"], front["app_port"]) == ("docker", 8501)
    assert set(re.findall(r"\b(?:port |EXPOSE |127\.0\.0\.1:)(\d+)", TEXT)) == {"8501"}
    assert TEXT.index("\nUSER user\n") < TEXT.index("\nHEALTHCHECK")
    assert "PRUNESCOPE_HOSTED=1" in TEXT
    assert '\naddress = "localhost"' in (ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8")
