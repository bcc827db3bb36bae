import { assertEquals, assertStringIncludes } from "@std/assert";
import type { HostFacts } from "./facts.ts";
import { matchesPattern } from "./glob.ts";
import { parseIni } from "./ini.ts";
import { judgeDhcpcd, judgeLinkFiles, judgeNetworkd, judgeNetworkManager } from "./services.ts";

type Files = Readonly<Record<string, string>>;

function host(process: string, files: Files, commandLine = process): HostFacts {
  return {
    processes: process === "" ? [] : [{ name: process, commandLine }],
    files: Object.entries(files).map(([path, text]) => ({ path, text })),
  };
}

const ALL_NO = "[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=0\n" +
  "ManageForeignNextHops=false\n";

Deno.test("judgeNetworkd() reads what is in force", async (t) => {
  const cases: readonly (readonly [string, Files, string | undefined])[] = [
    ["nothing said", {}, "ManageForeignRoutes, ManageForeignRoutingPolicyRules"],
    ["all off", { "/etc/systemd/networkd.conf": ALL_NO }, undefined],
    ["off in a comment", { "/etc/systemd/networkd.conf": ALL_NO.replaceAll("\nM", "\n#M") }, "are"],
    ["one missing", {
      "/etc/systemd/networkd.conf": ALL_NO.replace("ManageForeignNextHops=false", ""),
    }, "ManageForeignNextHops is not"],
    [
      "another section",
      { "/etc/systemd/networkd.conf": ALL_NO.replace("Network", "DHCPv4") },
      "are",
    ],
    ["dropped in", { "/run/systemd/networkd.conf.d/a.conf": ALL_NO }, undefined],
    ["on again by a later file", {
      "/etc/systemd/networkd.conf.d/10-a.conf": ALL_NO,
      "/usr/lib/systemd/networkd.conf.d/20-b.conf": "[Network]\nManageForeignRoutes=yes\n",
    }, "ManageForeignRoutes is not"],
    ["the vendor's file of that name is not read", {
      "/etc/systemd/networkd.conf.d/10-a.conf": ALL_NO,
      "/usr/lib/systemd/networkd.conf.d/10-a.conf": "[Network]\nManageForeignRoutes=yes\n",
    }, undefined],
    ["the vendor's main file is not read", {
      "/etc/systemd/networkd.conf": ALL_NO,
      "/usr/lib/systemd/networkd.conf": "[Network]\nManageForeignRoutes=yes\n",
    }, undefined],
  ];
  for (const [name, files, finding] of cases) {
    await t.step(name, () => {
      const problems = judgeNetworkd(host("systemd-network", files));
      assertEquals(problems.length, finding === undefined ? 0 : 1);
      if (finding !== undefined) assertStringIncludes(problems[0]!.finding, finding);
      assertEquals(judgeNetworkd(host("", files)), [], "it does not run");
    });
  }
});

Deno.test("judgeLinkFiles() takes the first file that matches a pod's link", async (t) => {
  const dir = "/etc/systemd/network";
  const file = (match: string, set = "MACAddress=02:00:00:00:00:01"): string =>
    `[Match]\n${match}\n[Link]\n${set}\n`;
  const cases: readonly (readonly [string, Files, number])[] = [
    ["none", {}, 0],
    ["Debian's", {
      "/usr/lib/systemd/network/99-default.link": file(
        "OriginalName=*",
        "NamePolicy=keep kernel\nMACAddressPolicy=persistent",
      ),
    }, 0],
    ["an address for all", { [`${dir}/50-a.link`]: file("OriginalName=*") }, 1],
    ["a name for every veth", { [`${dir}/50-a.link`]: file("Driver=veth", "Name=v0") }, 1],
    ["other links", { [`${dir}/50-a.link`]: file("OriginalName=eth* en?") }, 0],
    ["all but flock's", { [`${dir}/50-a.link`]: file("OriginalName=!flock*") }, 0],
    ["all but others", { [`${dir}/50-a.link`]: file("OriginalName=!eth*") }, 1],
    ["a condition that is not met", {
      [`${dir}/50-a.link`]: file("OriginalName=*\nMACAddress=52:54:00:00:00:01"),
    }, 0],
    ["no condition", { [`${dir}/50-a.link`]: file("") }, 0],
    ["ours comes first", {
      [`${dir}/00-flock.link`]: file("OriginalName=flock*", "NamePolicy=keep"),
      [`${dir}/50-a.link`]: file("OriginalName=*"),
    }, 0],
    ["masked", {
      [`${dir}/50-a.link`]: "",
      "/usr/lib/systemd/network/50-a.link": file("OriginalName=*"),
    }, 0],
    ["by what is dropped in", {
      "/usr/lib/systemd/network/50-a.link": file("OriginalName=*", "NamePolicy=keep"),
      [`${dir}/50-a.link.d/x.conf`]: "[Link]\nMTUBytes=9000\n",
    }, 1],
  ];
  for (const [name, files, count] of cases) {
    await t.step(name, () => {
      assertEquals(judgeLinkFiles(host("systemd-udevd", files)).length, count);
      assertEquals(judgeLinkFiles(host("", files)), [], "it does not run");
    });
  }
});

Deno.test("judgeNetworkManager() wants pods' links unmanaged", async (t) => {
  const main = "/etc/NetworkManager/NetworkManager.conf";
  const dropIn = "/etc/NetworkManager/conf.d/90-a.conf";
  const keyfile = (specs: string): string => `[keyfile]\nunmanaged-devices=${specs}\n`;
  const cases: readonly (readonly [string, Files, number])[] = [
    ["nothing said", {}, 1],
    ["named", { [main]: keyfile("mac:00:11:22:33:44:55;interface-name:flock*") }, 0],
    ["as a pattern", { [dropIn]: keyfile("interface-name:fl?ck*") }, 0],
    ["every veth", { [dropIn]: keyfile("driver:veth") }, 0],
    ["everything", { [dropIn]: keyfile("*") }, 0],
    ["everything but flock's", { [dropIn]: keyfile("*,except:interface-name:flock*") }, 1],
    ["others", { [dropIn]: keyfile("interface-name:cali*") }, 1],
    ["replaced later", {
      [dropIn]: keyfile("interface-name:flock*"),
      "/usr/lib/NetworkManager/conf.d/99-b.conf": keyfile("interface-name:cali*"),
    }, 1],
    ["added to", {
      [main]: keyfile("interface-name:cali*"),
      [dropIn]: "[keyfile]\nunmanaged-devices+=interface-name:flock*\n",
    }, 0],
    ["by a device section", {
      [dropIn]: "[device-flock]\nmatch-device=interface-name:flock*\nmanaged=0\n",
    }, 0],
    ["managed by a device section", {
      [dropIn]: "[device-flock]\nmatch-device=interface-name:flock*\nmanaged=1\n",
    }, 1],
    ["in another section", { [dropIn]: "[main]\nunmanaged-devices=interface-name:flock*\n" }, 1],
  ];
  for (const [name, files, count] of cases) {
    await t.step(name, () => {
      assertEquals(judgeNetworkManager(host("NetworkManager", files)).length, count);
      assertEquals(judgeNetworkManager(host("", files)), [], "it does not run");
    });
  }
});

Deno.test("judgeDhcpcd() wants pods' links denied, or not allowed", async (t) => {
  const conf = "/etc/dhcpcd.conf";
  const cases: readonly (readonly [string, string | undefined, number])[] = [
    ["no file", undefined, 1],
    ["nothing said", "hostname\n", 1],
    ["denied", "denyinterfaces veth* flock*\n", 0],
    ["denied with commas", "denyinterfaces veth*,flock*\n", 0],
    ["in a comment", "# denyinterfaces flock*\n", 1],
    ["only others are allowed", "allowinterfaces eth0 en*\n", 0],
    ["allowed too", "allowinterfaces *\n", 1],
    ["for one link only", "interface eth0\ndenyinterfaces flock*\n", 1],
  ];
  for (const [name, text, count] of cases) {
    await t.step(name, () => {
      const files: Files = text === undefined ? {} : { [conf]: text };
      assertEquals(judgeDhcpcd(host("dhcpcd", files)).length, count);
      assertEquals(judgeDhcpcd(host("", files)), [], "it does not run");
      assertEquals(judgeDhcpcd(host("dhcpcd", files, "dhcpcd: [manager] [ip4]")).length, count);
      assertEquals(judgeDhcpcd(host("dhcpcd", files, "dhcpcd: eth0 [ip4]")), [], "for one link");
    });
  }
});

Deno.test("parseIni() joins lines and leaves out comments", () => {
  assertEquals(parseIni("a=1\n[S]\n; b=2\n#c=3\n d = 4 \\\n 5 \nno line\n"), [
    { section: "", key: "a", value: "1" },
    { section: "S", key: "d", value: "4   5" },
  ]);
});

Deno.test("matchesPattern() is a shell's", () => {
  const cases: readonly (readonly [string, string, boolean])[] = [
    ["eth*", "eth0", true],
    ["eth?", "eth10", false],
    ["eth[0-3]", "eth2", true],
    ["eth[!0-3]", "eth2", false],
    ["a.c", "abc", false],
    ["[z-a]", "z", false],
    ["*", "", true],
  ];
  for (const [pattern, text, matches] of cases) {
    assertEquals(matchesPattern(pattern, text), matches, `${pattern} ${text}`);
  }
});
