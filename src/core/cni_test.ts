import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  CNI_VERBS,
  CNI_VERSIONS,
  type CniVerb,
  parseCniArgs,
  parseEnvironment,
  parseNetConf,
  parseVersionInput,
  requireVerb,
} from "./cni.ts";
import { DEFAULT_SOCKET, DEFAULT_STATE_DIR } from "./config.ts";
import { CniError } from "./errors.ts";

const WHOLE = {
  CNI_COMMAND: "ADD",
  CNI_CONTAINERID: "0123456789abcdef",
  CNI_NETNS: "/run/netns/x",
  CNI_IFNAME: "eth0",
  CNI_ARGS: "IgnoreUnknown=1",
  CNI_PATH: "/opt/cni/bin:/usr/lib/cni",
};

Deno.test("parseEnvironment() takes every verb with what it needs, and no more", () => {
  const needs: Record<CniVerb, readonly (keyof typeof WHOLE)[]> = {
    ADD: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
    CHECK: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
    DEL: ["CNI_CONTAINERID", "CNI_IFNAME"],
    GC: ["CNI_PATH"],
    STATUS: [],
    VERSION: [],
  };
  for (const verb of CNI_VERBS) {
    const env = environment({
      CNI_COMMAND: verb,
      ...Object.fromEntries(needs[verb].map((name) => [name, WHOLE[name]])),
    });
    assertEquals(parseEnvironment(env).verb, verb);
    for (const name of needs[verb]) {
      const error = refused(() => parseEnvironment((n) => n === name ? undefined : env(n)));
      assertEquals([error.code, error.message], [
        4,
        `Cannot accept environment: ${name}: missing`,
      ]);
      assertEquals(refused(() => parseEnvironment((n) => n === name ? "" : env(n))).code, 4);
    }
  }
  assertEquals(parseEnvironment(environment(WHOLE)), {
    verb: "ADD",
    containerId: WHOLE.CNI_CONTAINERID,
    ifname: "eth0",
    netns: "/run/netns/x",
    args: "IgnoreUnknown=1",
    path: WHOLE.CNI_PATH,
  });
});

Deno.test("parseEnvironment() names everything that is missing or malformed at once", () => {
  for (const verb of ["ADD", "CHECK"]) {
    const error = refused(() => parseEnvironment(environment({ CNI_COMMAND: verb })));
    assertEquals(error.code, 4);
    for (const name of ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]) {
      assert(error.message.includes(name), error.message);
    }
  }
  const error = refused(() =>
    parseEnvironment(environment({
      ...WHOLE,
      CNI_CONTAINERID: "-x",
      CNI_NETNS: "relative",
      CNI_IFNAME: "a/b",
    }))
  );
  assertEquals(
    error.message,
    'Cannot accept environment: CNI_CONTAINERID "-x", CNI_IFNAME "a/b", CNI_NETNS "relative": malformed',
  );
});

Deno.test("parseEnvironment() refuses what the specification, the kernel or ip would not take", async (t) => {
  const bad: Record<string, readonly string[]> = {
    CNI_COMMAND: ["", "add", "ADD ", "PATCH", "toString", "__proto__"],
    CNI_CONTAINERID: [
      ...["-a", ".a", "_a", "a b", "a/b", "a\nb", "a;b", "a}b", "a\0b", "\u00e9", "../x"],
      "x".repeat(256),
      "x".repeat(1 << 20),
    ],
    CNI_IFNAME: [
      ...[".", "..", "a/b", "a:b", "a b", "a\tb", "a\nb", "a\0b", 'a"b', "a'b", "a#b", "a\\b"],
      "a\u00a0b",
      "sixteen-letters-",
      "x".repeat(1 << 20),
    ],
    CNI_NETNS: [
      ...["run/netns/x", "x", "/a b", "/a\nb", "/a\0b", '/a"b', "/a'b", "/a#b", "/a\\b"],
      "/" + "x".repeat(4096),
    ],
  };
  for (const [name, values] of Object.entries(bad)) {
    await t.step(name, () => {
      for (const value of values) {
        const error = refused(() => parseEnvironment(environment({ ...WHOLE, [name]: value })));
        assertEquals(error.code, 4, value.slice(0, 80));
        assert(error.message.includes(name), error.message.slice(0, 200));
        assert(error.message.length < 400, "a long value is cut");
        // deno-lint-ignore no-control-regex
        assert(!/[\x00-\x1f]/.test(error.message), "no control character is repeated");
      }
    });
  }
});

Deno.test("parseEnvironment() takes what real runtimes send", () => {
  const good: Record<string, readonly string[]> = {
    CNI_CONTAINERID: ["0".repeat(64), "a", "cnitool-0123456789abcdef0123", "A.b_c-9"],
    CNI_IFNAME: ["eth0", "net1", "fifteen-letters", "a.100", "eth0@x", "}", ";"],
    CNI_NETNS: ["/run/netns/cni-0b1c", "/proc/1234/ns/net", "/var/run/netns/x;y}"],
  };
  for (const [name, values] of Object.entries(good)) {
    for (const value of values) {
      parseEnvironment(environment({ ...WHOLE, [name]: value }));
    }
  }
  // Of a DEL the namespace may be gone, or never have been.
  for (const CNI_NETNS of [undefined, "", "/gone"]) {
    parseEnvironment(environment({ ...WHOLE, CNI_COMMAND: "DEL", CNI_NETNS }));
  }
});

Deno.test("parseNetConf() fills in defaults and reads our keys", () => {
  assertEquals(parseNetConf('{"name": "flock"}'), {
    cniVersion: "0.1.0",
    name: "flock",
    socket: DEFAULT_SOCKET,
    stateDir: DEFAULT_STATE_DIR,
    mtu: undefined,
    requirePod: true,
    dns: undefined,
    prevResult: undefined,
    validAttachments: undefined,
  });
  const conf = parseNetConf(JSON.stringify({
    cniVersion: "1.1.0",
    name: "flock",
    type: "flock",
    socket: "/s",
    stateDir: "/d",
    mtu: 9000,
    requirePod: false,
    dns: { nameservers: ["2001:db8::53"], search: [], domain: "" },
    prevResult: { ips: [] },
    args: { cni: { ips: ["x"] } },
    runtimeConfig: { portMappings: [] },
    capabilities: { portMappings: true },
    ipam: {},
    ipMasq: false,
    disableCheck: true,
    disableGC: false,
    cniVersions: ["1.0.0"],
    "cni.dev/anything": 1,
  }));
  assertEquals([conf.socket, conf.stateDir, conf.mtu, conf.requirePod], ["/s", "/d", 9000, false]);
  assertEquals(conf.dns, { nameservers: ["2001:db8::53"] });
  assertEquals(conf.prevResult, { ips: [] });
  assertEquals(parseNetConf('{"name": "a", "mtu": 0, "prevResult": null}').mtu, undefined);
});

Deno.test("parseNetConf() refuses with the code of the table", async (t) => {
  const cases: Record<string, [stdin: string, code: number, says: string]> = {
    "empty stdin": ["", 6, "not JSON"],
    "half an object": ['{"name": "fl', 6, "not JSON"],
    "a list": ["[]", 6, "not an object"],
    "null": ["null", 6, "not an object"],
    "a number": ["7", 6, "not an object"],
    "no name": ["{}", 7, '"name" is missing'],
    "name null": ['{"name": null}', 7, '"name" is null'],
    "name empty": ['{"name": ""}', 7, '"name" is ""'],
    "name a number": ['{"name": 7}', 7, '"name" is 7'],
    "name with a slash": ['{"name": "a/b"}', 7, '"a/b"'],
    "name with a newline": ['{"name": "a\\nb"}', 7, '"a\\nb"'],
    "name with NUL": ['{"name": "a\\u0000"}', 7, '"a\\u0000"'],
    "version of the future": ['{"name": "a", "cniVersion": "1.2.0"}', 1, '"1.2.0"'],
    "version short": ['{"name": "a", "cniVersion": "1.1"}', 1, '"1.1"'],
    "version a number": ['{"name": "a", "cniVersion": 1}', 1, "1"],
    "unknown key": ['{"name": "a", "mut": 1500}', 2, '"mut" is 1500'],
    "key of Object.prototype": ['{"name": "a", "toString": 1}', 2, '"toString" is 1'],
    "another one": ['{"name": "a", "hasOwnProperty": 1}', 2, '"hasOwnProperty" is 1'],
    "the prototype": ['{"name": "a", "__proto__": {"socket": "/x"}}', 2, '"__proto__"'],
    "key with a newline": ['{"name": "a", "x\\n}": 1}', 2, '"x\\n}" is 1'],
    "socket relative": ['{"name": "a", "socket": "x"}', 2, '"socket" is "x"'],
    "socket with NUL": ['{"name": "a", "socket": "/x\\u0000y"}', 2, '"socket" is "/x\\u0000y"'],
    "socket null": ['{"name": "a", "socket": null}', 2, '"socket" is null'],
    "stateDir a number": ['{"name": "a", "stateDir": 1}', 2, '"stateDir" is 1'],
    "mtu text": ['{"name": "a", "mtu": "1500"}', 2, '"mtu" is "1500"'],
    "mtu small": ['{"name": "a", "mtu": 1279}', 2, '"mtu" is 1279'],
    "mtu large": ['{"name": "a", "mtu": 65536}', 2, '"mtu" is 65536'],
    "mtu a fraction": ['{"name": "a", "mtu": 1500.5}', 2, '"mtu" is 1500.5'],
    "requirePod text": ['{"name": "a", "requirePod": "no"}', 2, '"requirePod" is "no"'],
    "ipam": ['{"name": "a", "ipam": {"type": "host-local"}}', 2, '"ipam" is'],
    "ipMasq": ['{"name": "a", "ipMasq": true}', 2, '"ipMasq" is true'],
    "attachments an object": ['{"name": "a", "cni.dev/valid-attachments": {}}', 7, "not a list"],
    "attachment without ifname": [
      '{"name": "a", "cni.dev/valid-attachments": [{"containerID": "x"}]}',
      7,
      "[0]",
    ],
    "1 MB value": [JSON.stringify({ name: "a", x: "y".repeat(1 << 20) }), 2, '"x" is "yyy'],
    "1 MB key": [JSON.stringify({ name: "a", ["y".repeat(1 << 20)]: 1 }), 2, "yyy"],
  };
  for (const [name, [stdin, code, says]] of Object.entries(cases)) {
    await t.step(name, () => {
      const error = refused(() => parseNetConf(stdin));
      assertEquals(error.code, code, error.message);
      assert(error.message.includes(says), error.message.slice(0, 300));
      assert(error.message.length < 500, "a long value is cut");
    });
  }
  await t.step("the versions and keys that are known are in the details", () => {
    assertEquals(
      refused(() => parseNetConf('{"name": "a", "cniVersion": "9"}')).details,
      `supported: ${CNI_VERSIONS.join(", ")}`,
    );
    assertEquals(
      refused(() => parseNetConf('{"name": "a", "mut": 1}')).details,
      "flock's keys are socket, stateDir, mtu, requirePod",
    );
  });
});

Deno.test("parseNetConf() judges for a verb only what it needs", async (t) => {
  const valid = { "cni.dev/valid-attachments": [] };
  const edits: Record<string, [edit: Record<string, unknown>, refusing: readonly CniVerb[]]> = {
    "an unknown key": [{ mut: 1 }, ["ADD", "STATUS"]],
    "ipam": [{ ipam: { type: "host-local" } }, ["ADD", "STATUS"]],
    "ipMasq": [{ ipMasq: true }, ["ADD", "STATUS"]],
    "mtu": [{ mtu: "large" }, ["ADD", "STATUS"]],
    "requirePod": [{ requirePod: "no" }, ["ADD", "STATUS"]],
    "socket": [{ socket: 7 }, ["ADD", "STATUS"]],
    "name": [{ name: undefined }, ["ADD", "STATUS", "GC"]],
    "a name that is none": [{ name: "a/b" }, ["ADD", "STATUS", "GC"]],
    "the list of GC": [{ "cni.dev/valid-attachments": 7 }, ["ADD", "STATUS", "GC"]],
    "cniVersion": [{ cniVersion: "9.9.9" }, ["ADD", "STATUS", "GC", "CHECK"]],
  };
  for (const [name, [edit, refusing]] of Object.entries(edits)) {
    await t.step(name, () => {
      const conf = { cniVersion: "1.1.0", name: "flock", socket: "/s", stateDir: "/d", ...valid };
      const stdin = JSON.stringify({ ...conf, ...edit });
      for (const verb of ["ADD", "STATUS", "GC", "CHECK", "DEL"] as const) {
        if (refusing.includes(verb)) refused(() => parseNetConf(stdin, verb));
        else {
          const { socket, stateDir } = parseNetConf(stdin, verb);
          assertEquals([socket, stateDir], ["socket" in edit ? DEFAULT_SOCKET : "/s", "/d"], verb);
        }
      }
    });
  }
  await t.step("but not what is no configuration", () => {
    for (const stdin of ["", "[]", "{"]) {
      assertEquals(refused(() => parseNetConf(stdin, "DEL")).code, 6);
    }
  });
});

Deno.test("parseNetConf() returns or throws a CniError whatever JSON it is given", () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.json(), fc.string(), fc.dictionary(fc.string(), fc.jsonValue()).map(named)),
      (stdin) => {
        try {
          parseNetConf(stdin);
        } catch (error) {
          assert(error instanceof CniError, String(error));
        }
      },
    ),
  );
});

Deno.test("parseNetConf() reads the list of GC under both of its keys", () => {
  const listOf = (keys: Record<string, unknown>): unknown =>
    parseNetConf(JSON.stringify({ name: "a", cniVersion: "1.1.0", ...keys })).validAttachments;
  const wire = (containerID: string): unknown => [{ containerID, ifname: "eth0" }];
  const parsed = (containerId: string): unknown => [{ containerId, ifname: "eth0" }];
  assertEquals(listOf({ "cni.dev/valid-attachments": wire("a") }), parsed("a"));
  assertEquals(listOf({ "cni.dev/attachments": wire("a") }), parsed("a"));
  const both = { "cni.dev/attachments": wire("old"), "cni.dev/valid-attachments": wire("new") };
  assertEquals(listOf(both), parsed("new"));
  assertEquals(listOf({ "cni.dev/valid-attachments": null }), null);
  assertEquals(listOf({ "cni.dev/valid-attachments": [] }), []);
  assertEquals(listOf({}), undefined);
});

Deno.test("parseVersionInput() echoes any version and takes empty input", () => {
  assertEquals(parseVersionInput(""), undefined);
  assertEquals(parseVersionInput(" \n"), undefined);
  assertEquals(parseVersionInput("{}"), undefined);
  assertEquals(parseVersionInput('{"cniVersion": "0.3.1"}'), "0.3.1");
  assertEquals(parseVersionInput('{"cniVersion": "7.0.0"}'), "7.0.0");
  assertEquals(refused(() => parseVersionInput("{")).code, 6);
});

Deno.test("requireVerb() knows since when each verb exists", () => {
  const since: Record<CniVerb, number> = { ADD: 0, DEL: 0, VERSION: 0, CHECK: 4, GC: 6, STATUS: 6 };
  for (const verb of CNI_VERBS) {
    for (const [n, version] of CNI_VERSIONS.entries()) {
      if (n >= since[verb]) requireVerb(verb, version);
      else {
        const error = refused(() => requireVerb(verb, version));
        assertEquals(error.code, 1);
        assert(error.message.includes(`config version does not allow ${verb}`), error.message);
      }
    }
  }
});

Deno.test("parseCniArgs() finds the pod whatever the order of the keys", () => {
  const pairs = [
    "IgnoreUnknown=1",
    "K8S_POD_NAMESPACE=kube-system",
    "K8S_POD_NAME=coredns-5d78c9869d-abcde",
    `K8S_POD_INFRA_CONTAINER_ID=${"0".repeat(64)}`,
    "K8S_POD_UID=6f6c5b3e-0000-4000-8000-000000000001",
    "OTHER=x",
  ];
  fc.assert(
    fc.property(fc.shuffledSubarray(pairs, { minLength: pairs.length }), (shuffled) => {
      assertEquals(parseCniArgs(shuffled.join(";")), {
        namespace: "kube-system",
        name: "coredns-5d78c9869d-abcde",
        uid: "6f6c5b3e-0000-4000-8000-000000000001",
      });
    }),
  );
  assertEquals(parseCniArgs("K8S_POD_NAMESPACE=a;K8S_POD_NAME=b.c"), {
    namespace: "a",
    name: "b.c",
    uid: "",
  });
  for (const none of ["", ";", "IgnoreUnknown=1", "IgnoreUnknown=true;FOO=bar"]) {
    assertEquals(parseCniArgs(none), undefined, none);
  }
});

Deno.test("parseCniArgs() refuses unknown keys unless it is told to ignore them", () => {
  for (const yes of ["1", "true", "TRUE", "t"]) {
    assertEquals(parseCniArgs(`A=b;IgnoreUnknown=${yes}`), undefined);
  }
  for (const args of ["A=b", "A=b;IgnoreUnknown=0", "IgnoreUnknown=false;A=b", "__proto__=b"]) {
    const error = refused(() => parseCniArgs(args));
    assertEquals(error.code, 4);
    assert(error.message.includes("CNI_ARGS"), error.message);
    assert(/"(A|__proto__)"/.test(error.message), error.message);
  }
});

Deno.test("parseCniArgs() refuses what is no pair and what no Kubernetes object is called", () => {
  const pod = "IgnoreUnknown=1;K8S_POD_NAMESPACE=a;K8S_POD_NAME=";
  const bad = [
    ...["A", "=b", "A=b=c", "A=b;;C", "}", "\n", "IgnoreUnknown=1;x"],
    ...["B", "b}", "b c", "b\nc", "b\0", "-b", "b-", "b/c", "\u00e9", "b".repeat(254)]
      .map((name) => pod + name),
    pod + "x".repeat(1 << 20),
    "K8S_POD_NAME=b",
    "K8S_POD_NAMESPACE=a",
    "K8S_POD_UID=x",
    `K8S_POD_NAMESPACE=${"a".repeat(64)};K8S_POD_NAME=b`,
    "K8S_POD_NAMESPACE=a;K8S_POD_NAME=b;K8S_POD_UID=x y",
    "K8S_POD_NAMESPACE=a;K8S_POD_NAME=b;K8S_POD_UID=x\ny",
  ];
  for (const args of bad) {
    const error = refused(() => parseCniArgs(args));
    assertEquals(error.code, 4, args.slice(0, 80));
    assert(error.message.includes("CNI_ARGS"), error.message.slice(0, 200));
    assert(error.message.length < 500, "a long value is cut");
  }
});

function environment(
  values: Readonly<Record<string, string | undefined>>,
): (name: string) => string | undefined {
  return (name) => Object.hasOwn(values, name) ? values[name] : undefined;
}

function refused(fn: () => unknown): CniError {
  return assertThrows(fn, CniError);
}

/** A network configuration that is sound but for further keys. */
function named(keys: Record<string, unknown>): string {
  return JSON.stringify({ ...keys, name: "a", cniVersion: "1.1.0" });
}
