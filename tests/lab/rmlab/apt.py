"""APT sources and options of the images, taken from the host's own APT
configuration: the lab names no mirror and no proxy of its own."""

import re

from .shell import LabError, output

# Options that reach the archive; everything else in the host's configuration
# is the host's business.
FORWARDED = re.compile(r"^Acquire::(https?::|Check-Valid-Until|Check-Date|Retries)")
SUITE = re.compile(r"^([a-z]+)((-updates|-security)?)$")
FORMAT = "$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)\t$(ORIGIN)"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def host_codename():
    with open("/etc/os-release") as f:
        for line in f:
            if line.startswith("VERSION_CODENAME="):
                return line.split("=", 1)[1].strip().strip('"')
    raise LabError("/etc/os-release has no VERSION_CODENAME",
                   "run the lab on Debian 12")


def host_suites():
    """[(uri, suite ending)] of Debian's main archive on this host."""
    codename = host_codename()
    found = []
    for line in output(["apt-get", "indextargets", "--format", FORMAT]).splitlines():
        uri, suite, component, origin = line.split("\t")
        match = SUITE.match(suite)
        if (component == "main" and origin in ("", "Debian") and match
                and match.group(1) == codename
                and (uri, match.group(2)) not in found):
            found.append((uri, match.group(2)))
    if not any(ending == "" for _, ending in found):
        raise LabError(f"the host's APT has no source for {codename} main",
                       "add Debian's archive to /etc/apt/sources.list.d and "
                       "run apt-get update")
    return found


def sources(release):
    """sources.list lines for an image, the suite name swapped."""
    return [f"deb [signed-by={KEYRING}] {uri} {release}{ending} main"
            for uri, ending in host_suites()]


def options():
    """Lines of apt.conf that an image needs in order to reach the archive."""
    lines = output(["apt-config", "dump"]).splitlines()
    return [line for line in lines if FORWARDED.match(line)
            and not line.endswith('"";')]
