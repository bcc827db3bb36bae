import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { CNI_VERSIONS, parseNetConf } from "./cni.ts";
import { chainedPortmapOf, renderConflist } from "./conflist.ts";

interface List {
  readonly cniVersion: string;
  readonly cniVersions: readonly string[];
  readonly name: string;
  readonly plugins: readonly Readonly<Record<string, unknown>>[];
}

const PATHS = { socket: "/run/flock/flock.sock", stateDir: "/var/lib/flock" };

Deno.test("renderConflist() says versions in a way that old runtimes take", () => {
  const list: List = JSON.parse(renderConflist(PATHS));
  // containerd 1.7 refuses a plain 1.1.0; newer ones take the best of the list.
  assertEquals(list.cniVersion, "1.0.0");
  assert(list.cniVersions.includes("1.0.0") && list.cniVersions.includes("1.1.0"));
  for (const version of list.cniVersions) {
    assert((CNI_VERSIONS as readonly string[]).includes(version), version);
  }
  assertEquals(list.plugins, [{ type: "flock", ...PATHS }]);
});

Deno.test("renderConflist() chains portmap after flock where it is there", () => {
  const text = renderConflist({ ...PATHS, portmap: { versions: CNI_VERSIONS } });
  const list: List = JSON.parse(text);
  assertEquals(list.plugins.map(({ type }) => type), ["flock", "portmap"]);
  assertEquals(list.plugins[1], {
    type: "portmap",
    capabilities: { portMappings: true },
    snat: true,
  });
  assertEquals(chainedPortmapOf(text), {});
});

Deno.test("renderConflist() says portmap's backend where it has the choice", () => {
  const portmap = { versions: CNI_VERSIONS, backend: "nftables" };
  const text = renderConflist({ ...PATHS, portmap });
  const list: List = JSON.parse(text);
  assertEquals([list.plugins[1]!.type, list.plugins[1]!.backend], ["portmap", "nftables"]);
  assertEquals(chainedPortmapOf(text), { backend: "nftables" });
  for (const other of [renderConflist(PATHS), "", "null", "{}", '{"plugins":[null]}']) {
    assertEquals(chainedPortmapOf(other), undefined, other);
  }
});

Deno.test("renderConflist() offers only what the chained plugin speaks", () => {
  const cases: readonly (readonly [readonly string[], string, readonly string[]])[] = [
    [["0.3.1", "0.4.0", "1.0.0"], "1.0.0", ["0.3.1", "0.4.0", "1.0.0"]],
    [["0.3.0", "0.3.1", "0.4.0"], "0.4.0", ["0.3.1", "0.4.0"]],
    [["1.1.0", "1.2.0"], "1.1.0", ["1.1.0"]],
  ];
  for (const [versions, one, all] of cases) {
    const list: List = JSON.parse(renderConflist({ ...PATHS, portmap: { versions } }));
    assertEquals([list.cniVersion, list.cniVersions], [one, all]);
  }
});

Deno.test("renderConflist() gives a network configuration that the plugin takes, whatever the paths", () => {
  fc.assert(fc.property(fc.string(), fc.string(), fc.boolean(), (a, b, chained) => {
    // Quotes, backslashes and Eta's own tags among them; control characters are refused as paths.
    const [socket, stateDir] = [a, b].map((t) => `/p<%= ${t.replaceAll(/\p{Cc}/gu, "")}`);
    const portmap = chained ? { versions: CNI_VERSIONS, backend: a } : undefined;
    const text = renderConflist({ socket: socket!, stateDir: stateDir!, portmap });
    const { cniVersion, name, plugins }: List = JSON.parse(text);
    const conf = parseNetConf(JSON.stringify({ cniVersion, name, ...plugins[0] }));
    assertEquals([conf.socket, conf.stateDir], [socket, stateDir]);
    assert(text.endsWith("}\n"));
  }));
});
