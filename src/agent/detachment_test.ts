import { assertEquals, assertRejects } from "@std/assert";
import { attachment } from "../../tests/attachments.ts";
import { formatAddress } from "../core/cidr.ts";
import { CommandError } from "../io/command.ts";
import { createConntrack } from "../io/conntrack.ts";
import { configureLog } from "../log.ts";
import { forgetConnections } from "./connections.ts";
import { detach, type DetachmentContext } from "./detachment.ts";

const POD = attachment(1, {
  ip6: "2001:db8:f001::1",
  ip4: "10.244.1.1",
  addresses: ["10.244.1.9"],
  anycast: ["2001:db8:ffff::53"],
});
const OWN = ["2001:db8:f001::1", "10.244.1.1", "10.244.1.9"];

/** Where everything says what it is told to do, and that it is done a moment later. */
function context(change: Partial<DetachmentContext> = {}) {
  const steps: string[] = [];
  const step = async (...what: readonly string[]): Promise<void> => {
    await Promise.resolve();
    steps.push(what.join(" "));
  };
  const all: DetachmentContext = {
    withdraw: () => step("withdraw"),
    ip: {
      link: () => Promise.resolve(undefined),
      runPod: (_, { batch }) => step("pod", ...batch),
      deleteLink: (name) => step("delete", name),
    },
    forget: (addresses) => step("forget", ...addresses.map(formatAddress)),
    store: { list: () => [POD], remove: (key) => step("remove", key) },
    ipam: { release: (address) => void steps.push(`release ${formatAddress(address)}`) },
    ...change,
  };
  return { steps, all };
}

Deno.test("detach() forgets a pod's own connections between its link and its addresses", async () => {
  const { steps, all } = context();
  await detach(POD, all);
  assertEquals(steps.filter((step) => !step.startsWith("pod ")), [
    "withdraw",
    `delete ${POD.hostIfname}`,
    `forget ${OWN.join(" ")}`,
    "remove c1/eth0",
    ...OWN.map((address) => `release ${address}`),
    "release 2001:db8:ffff::53",
  ]);
});

Deno.test("detach() forgets also what an ADD that failed left", async () => {
  const { steps, all } = context();
  await detach({ ...POD, state: "pending" }, all);
  assertEquals(steps.includes(`forget ${OWN.join(" ")}`), true);
});

Deno.test("detach() forgets nothing while the link is there: the pod could go on", async () => {
  const { steps, all } = context();
  const ip = { ...all.ip, deleteLink: () => Promise.reject(new Error("refused")) };
  await assertRejects(() => detach(POD, { ...all, ip }), Error, "refused");
  assertEquals(steps.filter((step) => /^(forget|remove|release)/.test(step)), []);
});

Deno.test("detach() goes on without a conntrack, and with one that fails; each is told once", async () => {
  const logged: { readonly level: string; readonly msg: string; readonly err: string }[] = [];
  configureLog({
    level: "warn",
    format: "json",
    write: (line) => void logged.push(JSON.parse(line)),
  });
  let failure: Error = new Deno.errors.NotFound('Cannot find tool "conntrack"');
  const forget = forgetConnections(createConntrack(() => Promise.reject(failure)));
  for (let i = 0; i < 3; i++) {
    const { steps, all } = context({ forget });
    await detach(POD, all);
    assertEquals(steps.at(-1), "release 2001:db8:ffff::53");
    if (i === 1) failure = new CommandError("conntrack -R -", 1, undefined, "", "not permitted", 1);
  }
  assertEquals(logged.map(({ level, msg }) => [level, msg]), [
    ["warn", "Could not forget connections of addresses"],
    ["warn", "Could not forget connections of addresses"],
  ]);
  assertEquals(logged.map(({ err }) => err), [
    'Cannot find tool "conntrack"',
    'Cannot run "conntrack -R -": exit status 1: not permitted',
  ]);
});
