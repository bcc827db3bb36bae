/**
 * Whatever a runtime or an operator's network configuration says, through the real executable: an error
 * that names it, its code, and nothing changed.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { CniOptions, CniVerb } from "../../src/lab/node.ts";
import { testWith } from "../support.ts";
import { assertRefused, createCniHost, createTestPod, picture, withoutLo } from "./cni_host.ts";
import { assertNoTrace, HOSTILE, HUGE, LONG, NUL } from "./hostile.ts";

const NEEDS = ["root", "bird"] as const;

testWith("netns: bad variables change nothing", NEEDS, async (t) => {
  await using host = await createCniHost();
  const { node } = host;
  await using resident = await createTestPod(node);
  await using victim = await createTestPod(node);
  await node.add(resident.pod);
  const before = await picture(node, resident.pod, victim.pod);
  const refuse = async (
    env: NonNullable<CniOptions["env"]>,
    says: string,
    verb: CniVerb = "ADD",
  ): Promise<void> => assertRefused(await node.cni(verb, victim.pod, { env }), 4, says);

  for (const name of ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]) {
    await t.step(`${name} missing or hostile`, async () => {
      await refuse({ [name]: undefined }, `${name}: missing`);
      const values = [...HOSTILE, LONG].filter((value) =>
        // A link may be called so.
        !(name === "CNI_IFNAME" && /^[}\u0080-\uffff]+$/.test(value))
      );
      await Promise.all(values.map((value) => refuse({ [name]: value }, name)));
    });
  }
  await t.step("all missing are named at once", async () => {
    const none = { CNI_CONTAINERID: undefined, CNI_NETNS: "", CNI_IFNAME: undefined };
    for (const verb of ["ADD", "CHECK"] as const) {
      await refuse(none, "CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME: missing", verb);
    }
    await refuse(none, "CNI_CONTAINERID, CNI_IFNAME: missing", "DEL");
    await refuse({ CNI_PATH: undefined }, "CNI_PATH: missing", "GC");
  });
  await t.step("CNI_COMMAND", async () => {
    for (const verb of ["add", ...HOSTILE, LONG]) {
      await refuse({ CNI_COMMAND: verb }, "CNI_COMMAND");
    }
  });
  await t.step("CNI_ARGS", async () => {
    const pod = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=";
    const { name } = victim.pod.options;
    const bad = [
      ...["K8S_POD_NAME", "=x", "A=b", "IgnoreUnknown=1;A=b=c"],
      ...[...HOSTILE, LONG].flatMap((value) => [
        value,
        pod + value,
        `${pod}${name};K8S_POD_UID=${value}`,
        `IgnoreUnknown=1;K8S_POD_NAME=${name};K8S_POD_NAMESPACE=${value}`,
      ]),
    ];
    for (const CNI_ARGS of bad) await refuse({ CNI_ARGS }, "CNI_ARGS");
  });
  await t.step("nothing changed", async () => {
    assertEquals(await picture(node, resident.pod, victim.pod), before);
    await assertNoTrace();
  });
  await t.step("an interface may be called like a word of ip or of the shell", async () => {
    for (const CNI_IFNAME of ["}", ";", "$(reboot)", "up", "dev", "type", "-6", "--"]) {
      const env = { CNI_IFNAME };
      const added = await node.cni("ADD", victim.pod, { env });
      assertEquals(added.code, 0, added.stdout);
      const [, end] = added.json!.interfaces as { name: string }[];
      assertEquals(end?.name, CNI_IFNAME);
      const conf = { prevResult: added.json };
      assertEquals((await node.cni("CHECK", victim.pod, { env, conf })).stdout, "");
      assertEquals((await node.cni("DEL", victim.pod, { env, conf })).stdout, "");
    }
    // The kernel keeps some names for itself.
    for (const CNI_IFNAME of ["all", "default", "lo"]) {
      const answer = await node.cni("ADD", victim.pod, { env: { CNI_IFNAME } });
      assertRefused(answer, 104, CNI_IFNAME);
    }
    const after = await picture(node, resident.pod, victim.pod);
    assertEquals(withoutLo(after), withoutLo(before));
  });
});

testWith("netns: bad network configurations change nothing", NEEDS, async (t) => {
  await using host = await createCniHost();
  const { node } = host;
  await using resident = await createTestPod(node);
  await using victim = await createTestPod(node);
  await node.add(resident.pod);
  const before = await picture(node, resident.pod, victim.pod);
  const refuse = async (code: number, says: string, options: CniOptions, version?: string) =>
    assertRefused(await node.cni("ADD", victim.pod, options), code, says, version);

  await t.step("not JSON, or half of it", async () => {
    const whole = JSON.stringify(node.netConf());
    for (
      const stdin of ["", "\n", "{", whole.slice(0, -1), `${whole}}`, "null", "[]", '"}"', "\0"]
    ) {
      await refuse(6, "Cannot decode network configuration", { stdin });
    }
  });
  await t.step(
    "larger than a request may be",
    () => refuse(5, "1048576", { conf: { args: HUGE } }),
  );
  await t.step("no version of ours", async () => {
    for (const cniVersion of ["0.5.0", "1.2.0", "1.1", 1, ...HOSTILE, NUL, HUGE]) {
      await refuse(1, "incompatible CNI versions", { conf: { cniVersion } });
    }
    const { json } = await node.cni("ADD", victim.pod, { conf: { cniVersion: "9" } });
    assert(String(json?.details).includes("0.1.0"), "the details say which there are");
  });
  await t.step("no name", async () => {
    for (const name of [undefined, null, "", 7, ...HOSTILE, NUL]) {
      await refuse(7, '"name"', { conf: { name } });
    }
  });
  await t.step("our keys with values of the wrong kind", async () => {
    const bad: Record<string, readonly unknown[]> = {
      socket: [null, 7, "relative", "", NUL, "/x\n", {}],
      stateDir: [null, 7, "relative", "", NUL, "/x\n", []],
      mtu: ["1500", -1, 1, 1279, 65_536, 1e9, 1500.5, null, {}],
      requirePod: ["false", 0, null],
      ipam: [{ type: "host-local" }, "dhcp", []],
      ipMasq: [true, "}"],
    };
    for (const [key, values] of Object.entries(bad)) {
      for (const value of values) await refuse(2, `"${key}" is `, { conf: { [key]: value } });
    }
  });
  await t.step("keys that nobody knows", async () => {
    for (const key of ["mut", "toString", "__proto__", ...HOSTILE, NUL]) {
      const stdin = JSON.stringify(node.netConf()).slice(0, -1) + `,${JSON.stringify(key)}:"}"}`;
      await refuse(2, 'is "}"', { stdin });
    }
  });
  await t.step("a prevResult that is none", async () => {
    for (
      const prevResult of ["}", 7, [], { ips: "}" }, { ips: [{ address: 7 }] }, {
        interfaces: [{}],
      }]
    ) await refuse(6, "Cannot decode prevResult", { conf: { prevResult } });
  });
  await t.step("a socket that is not the agent's", async () => {
    const sockets = ["/run/flock-no-such/};.sock", `/run/${LONG.slice(0, 200)}`, node.dir];
    await Promise.all(
      sockets.map((socket) => refuse(11, "nobody answers there", { conf: { socket } })),
    );
  });
  await t.step("nothing changed", async () => {
    assertEquals(await picture(node, resident.pod, victim.pod), before);
    await assertNoTrace();
  });
  await t.step("values that are not ours to judge are taken", async () => {
    const conf = {
      args: { cni: HOSTILE },
      runtimeConfig: { portMappings: HOSTILE },
      "cni.dev/x": HOSTILE,
      dns: { nameservers: HOSTILE, domain: NUL },
    };
    const { json } = await node.cni("ADD", victim.pod, { conf });
    assertEquals(json?.dns, conf.dns);
    await node.check(victim.pod, { conf: { ...conf, prevResult: json } });
    await node.del(victim.pod);
    await assertNoTrace();
  });
});
