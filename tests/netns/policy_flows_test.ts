/**
 * Addresses that change hands under traffic: what was established to the pod that had an address does
 * not reach the next one, by whichever of its ends or translations the kernel knows it; other pods' connections
 * stay as they are.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { type Family, parseAddress } from "../../src/core/cidr.ts";
import { ANNOTATION_PREFIX } from "../../src/core/config.ts";
import type { Host } from "../../src/lab/host.ts";
import type { Lab } from "../../src/lab/lab.ts";
import type { Node } from "../../src/lab/node.ts";
import type { Pod } from "../../src/lab/pod.ts";
import { until } from "../../src/lab/wait.ts";
import { EXECUTABLE } from "../executable.ts";
import { networkPolicy } from "../policy_objects.ts";
import { testWith } from "../support.ts";
import { putPolicies } from "./policy_table.ts";
import { poll, POLLIN, Socket, withinNetwork } from "./sockets.ts";
import { createTestLab, waitRoutes } from "./test_lab.ts";

/** Of nobody's prefix: a pod on any node may have them. */
const FIXED: Readonly<Record<Family, string>> = {
  ipv6: "2001:db8:ffff::200",
  ipv4: "203.0.113.200",
};
const FAMILIES = Object.keys(FIXED) as Family[];
/** Lead to n1, which puts a fixed address in their place, as kube-proxy does. */
const SERVICE: Readonly<Record<Family, string>> = {
  ipv6: "2001:db8:f001::5e:1",
  ipv4: "10.244.1.250",
};

/** Ports of the pod, each with a flow of its own. */
const PORTS = { udp: 80, tcp: 81, service: 82, reply: 83 } as const;
const CLIENT_PORT = 5353;

const DENY_IN = networkPolicy("default", "deny-in", {
  podSelector: { matchLabels: { app: "locked" } },
  policyTypes: ["Ingress"],
});

testWith("netns: a pod inherits no connection with its address", [
  "root",
  "bird",
  "nft",
  "conntrack",
], async (t) => {
  await using lab = await createTestLab({
    executable: EXECUTABLE,
    spec: () => ({
      announce: {
        allowed: ["2001:db8:ffff::/64", "203.0.113.192/26"].map((cidr) => ({
          cidr,
          namespaces: ["*"],
        })),
      },
    }),
  });
  await lab.start();
  await waitRoutes(lab);
  const [n1, n2] = lab.nodes as [Node, Node];
  await n1.exec(["nft", "-f", "-"], { stdin: translation() });

  for (const how of ["deleted", "collected"]) {
    await t.step(`connections of a pod that was ${how}`, async () => {
      const neighbour = await n1.createPod({ name: "neighbour", labels: { app: "locked" } });
      await n1.add(neighbour);
      const first = await createFixed(n1, "first", "open");
      await n1.add(first);
      await waitRoutes(lab, Object.values(FIXED));
      using stack = new DisposableStack();
      const others: Flow[] = [];
      const flows: Flow[] = [];
      for (const family of FAMILIES) {
        const to = neighbour.address(family)!;
        others.push(
          stack.use(await Flow.open("udp", lab.client, neighbour, to, PORTS.udp)),
          stack.use(await Flow.open("tcp", lab.client, neighbour, to, PORTS.tcp)),
        );
        const [fixed, service] = [FIXED[family], SERVICE[family]];
        flows.push(
          stack.use(await Flow.open("udp", lab.client, first, fixed, PORTS.udp)),
          stack.use(await Flow.open("tcp", lab.client, first, fixed, PORTS.tcp)),
          stack.use(await Flow.open("udp", lab.client, first, service, PORTS.service)),
          stack.use(await Flow.asked(lab, first, fixed, PORTS.reply)),
        );
      }
      // From now on the neighbour is reached by what the kernel knows alone.
      await putPolicies(lab, [DENY_IN]);
      for (const flow of others) await flow.exchange();

      await using going = new Going([...flows]);
      if (how === "deleted") await n1.del(first);
      else {await n1.cni("GC", undefined, {
          conf: { "cni.dev/valid-attachments": [idOf(neighbour)] },
        });}
      await n1.removePod(first);
      const second = await createFixed(n1, "second", "locked");
      await countAt(second);
      await n1.add(second);
      await countAt(n1);
      await waitRoutes(lab, Object.values(FIXED));
      // Everything goes on, up to the node; a connection that hears nothing waits longer each time.
      await until("more of every flow on the node", async () => {
        // Told at once: a connection that was answered by the wrong one ends.
        if ((await heardAt(second)).length > 0) return true;
        const quiet = Object.entries(await counted(n1)).filter(([, packets]) => packets < 2);
        if (quiet.length > 0) throw new Error(`too little of ${quiet.map(([name]) => name)}`);
        return true;
      }, { timeoutMs: 20_000 });
      assertEquals(await heardAt(second), []);
      for (const flow of others) await flow.exchange();
      await going[Symbol.asyncDispose]();
      await n1.exec(["nft", "delete", "table", "inet", "watching"]);
      for (const pod of [second, neighbour]) {
        await n1.del(pod);
        await n1.removePod(pod);
      }
      await putPolicies(lab, []);
    });
  }

  await t.step("connections to a pod that was on another node", async () => {
    const asks = await n2.createPod({ name: "asks" });
    await n2.add(asks);
    const first = await createFixed(n1, "first", "open");
    await n1.add(first);
    await waitRoutes(lab, Object.values(FIXED));
    await putPolicies(lab, [DENY_IN]);
    using stack = new DisposableStack();
    const flows: Flow[] = [];
    for (const family of FAMILIES) {
      flows.push(stack.use(await Flow.open("udp", asks, first, FIXED[family], PORTS.udp)));
    }
    await n1.del(first);
    await n1.removePod(first);
    for (const address of Object.values(FIXED)) {
      await until(`no route of n2 to ${address}`, async () => {
        const { family } = parseAddress(address);
        const length = family === "ipv6" ? 128 : 32;
        const { stdout } = await n2.exec(
          ["ip", family === "ipv6" ? "-6" : "-4", "route", "show", `${address}/${length}`],
        );
        return stdout === "" ? true : undefined;
      });
    }
    const second = await createFixed(n2, "second", "locked");
    await countAt(second);
    await n2.add(second);
    for (let round = 0; round < 20; round++) for (const flow of flows) flow.send();
    await countAt(n2);
    await using _going = new Going(flows);
    await until("more of every flow on the node", async () => {
      const { "udp-ipv6": six, "udp-ipv4": four } = await counted(n2);
      return six! > 20 && four! > 20 ? true : undefined;
    });
    assertEquals(await heardAt(second), []);
    await n2.del(second);
    await n2.removePod(second);
    await n2.del(asks);
    await n2.removePod(asks);
    await putPolicies(lab, []);
  });
});

async function createFixed(node: Node, name: string, app: string): Promise<Pod> {
  return await node.createPod({
    name,
    labels: { app },
    annotations: { [`${ANNOTATION_PREFIX}addresses`]: Object.values(FIXED).join(",") },
  });
}

function idOf(pod: Pod): { readonly containerID: string; readonly ifname: string } {
  return { containerID: pod.containerId, ifname: "eth0" };
}

function wordOf(family: Family): string {
  return family === "ipv6" ? "ip6" : "ip";
}

function translation(): string {
  const rules = FAMILIES.map((family) =>
    `${wordOf(family)} daddr ${SERVICE[family]} dnat ${wordOf(family)} to ${FIXED[family]}`
  );
  return `table inet service {
    chain prerouting { type nat hook prerouting priority dstnat; ${rules.join("; ")}; }
  }`;
}

/** Counts what comes to a fixed address on a host, from now on: each flow, and on the pod's host too. */
async function countAt(host: Host): Promise<void> {
  const flows = Object.entries(PORTS).flatMap(([name, port]) =>
    FAMILIES.map((family) => {
      const protocol = name === "tcp" ? "tcp" : "udp";
      const match = `${wordOf(family)} daddr ${FIXED[family]} ${protocol} dport ${port}`;
      return { name: `${name}-${family}`, match };
    })
  );
  await host.exec(["nft", "-f", "-"], {
    // Behind translation and before what may drop.
    stdin: `table inet watching {
      ${flows.map(({ name }) => `counter ${name} { }`).join("\n")}
      chain seen {
        type filter hook prerouting priority dstnat + 1
        ${flows.map(({ name, match }) => `${match} counter name ${name}`).join("\n")}
      }
    }`,
  });
}

/** Packets of each flow since the host counts. */
async function counted(host: Host): Promise<Readonly<Record<string, number>>> {
  const { stdout } = await host.exec([
    "nft",
    "-j",
    "list",
    "counters",
    "table",
    "inet",
    "watching",
  ]);
  const { nftables } = JSON.parse(stdout) as {
    readonly nftables: readonly {
      readonly counter?: { readonly name: string; readonly packets: number };
    }[];
  };
  return Object.fromEntries(
    nftables.flatMap(({ counter }) => counter ?? []).map(({ name, packets }) => [name, packets]),
  );
}

/** The flows of which something came since the host counts. */
async function heardAt(host: Host): Promise<readonly (readonly [string, number])[]> {
  return Object.entries(await counted(host)).filter(([, packets]) => packets > 0);
}

/** A flow that was answered, of which the test has both ends. */
class Flow implements Disposable {
  private constructor(
    /** The end that goes on. */
    readonly near: Socket,
    readonly far: Socket,
    /** Where the near end sends, and the far one; undefined on a connection. */
    readonly to?: { readonly address: string; readonly port: number },
    readonly back?: { readonly address: string; readonly port: number },
  ) {}

  /** From a port that stays the same, to a pod. */
  static async open(
    kind: "tcp" | "udp",
    from: Host,
    pod: Pod,
    address: string,
    port: number,
  ): Promise<Flow> {
    const { family } = parseAddress(address);
    const any = family === "ipv6" ? "::" : "0.0.0.0";
    const near = withinNetwork(from.netnsPath, () => Socket.open(kind, family).bind(any));
    const server = withinNetwork(
      pod.netnsPath,
      () => Socket.open(kind, family).bind(any, port),
    );
    if (kind === "tcp") {
      server.listen();
      near.connect(address, port);
      const accepted = await until("connection", () => Promise.resolve(server.accept()?.socket), {
        everyMs: 5,
      });
      server[Symbol.dispose]();
      const flow = new Flow(near, accepted);
      await flow.exchange();
      return flow;
    }
    const flow = new Flow(near, server, { address, port });
    await flow.exchange();
    return flow;
  }

  /** That the pod began, and the other end goes on with. */
  static async asked(lab: Lab, pod: Pod, address: string, port: number): Promise<Flow> {
    const { family } = parseAddress(address);
    const back = { address: lab.plan.client.addresses[family]!, port: CLIENT_PORT };
    const near = withinNetwork(
      lab.client.netnsPath,
      () => Socket.open("udp", family).bind(back.address, back.port),
    );
    const far = withinNetwork(pod.netnsPath, () => Socket.open("udp", family).bind(address, port));
    const flow = new Flow(near, far, { address, port }, back);
    far.send(new Uint8Array(8), back);
    assertEquals((await hear(near)).from.address, address);
    await flow.exchange();
    return flow;
  }

  /** Both ends say something, and the other hears it. */
  async exchange(): Promise<void> {
    this.send();
    const { from } = await hear(this.far);
    this.far.send(new Uint8Array(8), this.to === undefined ? undefined : this.back ?? from);
    await hear(this.near);
  }

  send(): void {
    this.near.send(new Uint8Array(8), this.to);
  }

  [Symbol.dispose](): void {
    this.near[Symbol.dispose]();
    this.far[Symbol.dispose]();
  }
}

async function hear(socket: Socket): Promise<NonNullable<ReturnType<Socket["receive"]>>> {
  await poll([{ socket, events: POLLIN, ready: () => {} }], 3_000);
  const heard = socket.receive();
  if (heard === undefined) throw new Error("Cannot hear the other end: it was silent for 3 s");
  return heard;
}

/** Flows whose near ends send all the time. */
class Going implements AsyncDisposable {
  #stopped = false;
  readonly #sending: Promise<void>;

  constructor(flows: readonly Flow[]) {
    this.#sending = this.#send(flows);
  }

  async #send(flows: readonly Flow[]): Promise<void> {
    while (!this.#stopped) {
      for (const flow of flows) flow.send();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    await this.#sending;
  }
}
