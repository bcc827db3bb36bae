/**
 * `flock doctor` on the host's network services, which may take pods' links and routes for their own:
 * systemd-networkd and udev (networkd.conf(5), systemd.link(5)), NetworkManager (NetworkManager.conf(5)),
 * dhcpcd (dhcpcd.conf(5)).
 *
 * @module
 */
import type { Problem } from "./checks.ts";
import type { HostFacts, HostFile } from "./facts.ts";
import { matchesPattern } from "./glob.ts";
import { filesIn, parseIni, type Setting, settingsOf } from "./ini.ts";

/** systemd's directories, the most important first. */
const SYSTEMD_DIRS = ["/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd"];
const LINK_DIRS = SYSTEMD_DIRS.map((dir) => `${dir}/network`);
const NM_DIR = "/etc/NetworkManager";
const NM_DROP_INS = [
  `${NM_DIR}/conf.d`,
  "/run/NetworkManager/conf.d",
  "/usr/lib/NetworkManager/conf.d",
];
const DHCPCD_CONF = "/etc/dhcpcd.conf";

/** Names of the programs that are judged, at most 15 characters of each. */
export const SERVICE_PROCESSES: readonly string[] = [
  "systemd-network",
  "systemd-udevd",
  "systemd-timesyn",
  "NetworkManager",
  "dhcpcd",
];

/** Patterns of the files that are judged, for a shell. */
export const SERVICE_FILES: readonly string[] = [
  ...SYSTEMD_DIRS.flatMap((dir) => [`${dir}/networkd.conf`, `${dir}/networkd.conf.d/*.conf`]),
  ...LINK_DIRS.flatMap((dir) => [`${dir}/*.link`, `${dir}/*.link.d/*.conf`]),
  `${NM_DIR}/NetworkManager.conf`,
  ...NM_DROP_INS.map((dir) => `${dir}/*.conf`),
  DHCPCD_CONF,
];

/** A pod's link, as services see it. */
const POD_LINK = "flock0123abcd";

const FOREIGN = ["ManageForeignRoutes", "ManageForeignRoutingPolicyRules", "ManageForeignNextHops"];

export function judgeNetworkd({ processes, files }: HostFacts): readonly Problem[] {
  if (!processes.some(({ name }) => name === "systemd-network")) return [];
  const settings = settingsOf(files, SYSTEMD_DIRS, "networkd.conf")
    .filter(({ section }) => section === "Network");
  const managed = FOREIGN.filter((key) =>
    !/^(0|no|n|false|f|off)$/i.test(
      settings.findLast((setting) => setting.key === key)?.value ?? "",
    )
  );
  if (managed.length === 0) return [];
  return [{
    id: "networkd-foreign",
    finding: `systemd-networkd runs, and ${managed.join(", ")} ${
      managed.length === 1 ? "is" : "are"
    } not "no"`,
    fix: paste("/etc/systemd/networkd.conf.d/90-flock.conf", [
      "[Network]",
      ...FOREIGN.map((key) => `${key}=no`),
    ], "systemctl restart systemd-networkd"),
  }];
}

/** The first file that matches decides, whatever it says (systemd.link(5)). */
export function judgeLinkFiles({ processes, files }: HostFacts): readonly Problem[] {
  if (!processes.some(({ name }) => name === "systemd-udevd")) return [];
  for (const { name, path } of filesIn(files, LINK_DIRS, ".link")) {
    const settings = settingsOf(files, LINK_DIRS, name);
    if (!matchesPodLinks(settings)) continue;
    // MACAddressPolicy= does no harm: it leaves an address alone that was given when the link was made.
    const changes = settings.filter(({ section, key }) =>
      section === "Link" && ["MACAddress", "Name", "MTUBytes"].includes(key)
    ).map(({ key, value }) => `${key}=${value}`);
    if (changes.length === 0) return [];
    return [{
      id: "link-file",
      finding: `${path} matches the links of pods and sets ${changes.join(", ")}`,
      fix: paste("/etc/systemd/network/00-flock.link", [
        "[Match]",
        "OriginalName=flock*",
        "",
        "[Link]",
        "NamePolicy=keep",
        "MACAddressPolicy=none",
      ], "udevadm control --reload"),
    }];
  }
  return [];
}

export function judgeNetworkManager({ processes, files }: HostFacts): readonly Problem[] {
  if (!processes.some(({ name }) => name === "NetworkManager")) return [];
  const main = files.filter(({ path }) => path === `${NM_DIR}/NetworkManager.conf`);
  const settings = [...main, ...filesIn(files, NM_DROP_INS, ".conf")]
    .flatMap(({ text }) => parseIni(text));
  if (unmanagedByKeyfile(settings) || unmanagedByDevice(settings)) return [];
  return [{
    id: "networkmanager",
    finding: "NetworkManager runs, and no unmanaged-devices of it matches flock*",
    fix: paste(`${NM_DIR}/conf.d/90-flock.conf`, [
      "[keyfile]",
      "unmanaged-devices+=interface-name:flock*",
    ], "systemctl reload NetworkManager"),
  }];
}

export function judgeDhcpcd({ processes, files }: HostFacts): readonly Problem[] {
  // "dhcpcd: eth0 …" is one that was told its link; the one for all is "[manager]" or "[master]".
  const forAll = processes.filter(({ name, commandLine }) =>
    name === "dhcpcd" && !/^dhcpcd: [^[]/.test(commandLine)
  );
  if (forAll.length === 0) return [];
  const words = wordsOf(files.find(({ path }) => path === DHCPCD_CONF));
  const denied = words.some(([key, ...patterns]) =>
    key === "denyinterfaces" && patterns.some((pattern) => matchesPattern(pattern, POD_LINK))
  );
  const allowed = words.filter(([key]) => key === "allowinterfaces");
  const left = allowed.length > 0 &&
    !allowed.some(([, ...patterns]) =>
      patterns.some((pattern) => matchesPattern(pattern, POD_LINK))
    );
  if (denied || left) return [];
  return [{
    id: "dhcpcd",
    finding: `dhcpcd runs, and no denyinterfaces of ${DHCPCD_CONF} matches flock*`,
    fix: [
      // At the beginning: after an "interface" line it would belong to that link.
      `sed -i '1i denyinterfaces flock*' ${DHCPCD_CONF}`,
      "systemctl restart dhcpcd",
    ],
  }];
}

/** Without a Match section a file matches nothing; a condition that cannot be told here is not met. */
function matchesPodLinks(settings: readonly Setting[]): boolean {
  const match = settings.filter(({ section, value }) => section === "Match" && value !== "");
  const subjects: Readonly<Record<string, string>> = {
    OriginalName: POD_LINK,
    Driver: "veth",
    Type: "ether",
  };
  return match.length > 0 && match.every(({ key, value }) => {
    const subject = subjects[key];
    if (subject === undefined) return false;
    const not = value.startsWith("!");
    const patterns = value.slice(not ? 1 : 0).split(/\s+/);
    return patterns.some((pattern) => matchesPattern(pattern, subject)) !== not;
  });
}

function unmanagedByKeyfile(settings: readonly Setting[]): boolean {
  let specs = "";
  for (const { section, key, value } of settings) {
    if (section !== "keyfile") continue;
    if (key === "unmanaged-devices") specs = value;
    if (key === "unmanaged-devices+") specs += `;${value}`;
  }
  return matchesSpecs(specs);
}

function unmanagedByDevice(settings: readonly Setting[]): boolean {
  const sections = new Set(settings.map(({ section }) => section));
  return [...sections].filter((section) => /^device(-|$)/.test(section)).some((section) => {
    const value = (key: string): string | undefined =>
      settings.findLast((setting) => setting.section === section && setting.key === key)?.value;
    return /^(0|no|false|off)$/i.test(value("managed") ?? "") &&
      matchesSpecs(value("match-device") ?? "");
  });
}

/** A device list of NetworkManager; an `except:` that matches beats the others. */
function matchesSpecs(text: string): boolean {
  const specs = text.split(/[;,]/).map((spec) => spec.trim()).filter((spec) => spec !== "");
  const matches = (spec: string): boolean => {
    const [, kind = "", value = spec] = /^(interface-name|driver|type):=?(.*)$/.exec(spec) ?? [];
    if (kind === "driver" || kind === "type") return value === "veth";
    return matchesPattern(value.replace(/^~/, ""), POD_LINK);
  };
  const except = specs.filter((spec) => spec.startsWith("except:"));
  if (except.some((spec) => matches(spec.slice("except:".length)))) return false;
  return specs.filter((spec) => !spec.startsWith("except:")).some(matches);
}

/** Lines of dhcpcd.conf that hold for all links, as words. */
function wordsOf(file: HostFile | undefined): readonly (readonly string[])[] {
  const lines = (file?.text ?? "").split("\n").map((line) => line.replace(/#.*/, "").trim());
  const end = lines.findIndex((line) => /^(interface|profile|ssid)\s/.test(line));
  return lines.slice(0, end < 0 ? undefined : end).filter((line) => line !== "")
    .map((line) => line.split(/[\s,]+/));
}

/** Lines that write a file and make it known. */
function paste(path: string, lines: readonly string[], after: string): readonly string[] {
  const dir = path.slice(0, path.lastIndexOf("/"));
  return [`mkdir -p ${dir}`, `cat >${path} <<'END'`, ...lines, "END", after];
}
