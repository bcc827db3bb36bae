/**
 * A kernel in memory that is told what to do in the words of `ip -batch`, and refuses what the kernel
 * refuses: adding what is there, a group of next hops that are not, a link that is down. What leads to a
 * link or a next hop goes with it. Only the main table.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import type { IpLink, IpNeighbor, IpNexthop, IpRoute } from "../../src/core/ip_state.ts";
import { hostMacOf, isHostIfname } from "../../src/core/wiring.ts";
import type { FailedLine, Ip, KernelState } from "../../src/io/ip.ts";
import { link } from "../attachments.ts";

/** What the kernel answers, as `ip` prints it. */
class Refused extends Error {}

const GONE = "RTNETLINK answers: No such process";
const NO_ENTRY = "RTNETLINK answers: No such file or directory";
const EXISTS = "RTNETLINK answers: File exists";
const INVALID = "RTNETLINK answers: Invalid argument";
const DOWN = "RTNETLINK answers: Network is down";
const RESILIENT = ["buckets", "idle_timer", "unbalanced_timer"] as const;

type Nexthop = IpNexthop & { readonly protocol: string };

export class FakeIp implements Pick<Ip, "observe" | "change" | "routesTo"> {
  readonly links = new Map<string, IpLink>();
  readonly #neighbors = new Map<string, IpNeighbor>();
  readonly #nexthops = new Map<number, Nexthop>();
  readonly #routes = new Map<string, IpRoute>();
  /** Every batch that was given, and every line of them. */
  readonly batches: (readonly string[])[] = [];
  /** How often everything was read. */
  reads = 0;
  /** Most reads and batches that were ever under way at a time. */
  mostAtOnce = 0;
  /** While set, reads fail with it. */
  readError?: Error;
  /** While set, reads wait for it, with what they have seen; batches, before they begin. */
  readGate?: Promise<void>;
  changeGate?: Promise<void>;
  #atOnce = 0;
  /** Lines that it does not know. */
  readonly #unknown: string[] = [];

  get lines(): readonly string[] {
    return this.batches.flat();
  }

  /** Every route, as `dst way proto metric`, sorted. */
  get routes(): readonly string[] {
    return this.#routes.values().map(textOf).toArray().sort();
  }

  /** Every next hop and group, as `id → members or device`. */
  get nexthops(): ReadonlyMap<number, string> {
    return new Map(
      this.#nexthops.values().map(({ id, dev, members }) => [
        id,
        members?.map((member) => `${member.id},${member.weight}`).join("/") ?? dev ?? "",
      ]),
    );
  }

  /** Adds a link that is up. */
  addLink(ifname: string): void {
    const mac = isHostIfname(ifname) ? hostMacOf(ifname) : "";
    this.links.set(ifname, { ...link(0), ifname, mac });
  }

  /** Somebody else changes the kernel. */
  foreign(...lines: readonly string[]): void {
    for (const line of lines) this.#run(line);
  }

  observe(): Promise<KernelState> {
    this.reads++;
    return this.#busy(async () => {
      const seen: KernelState = {
        links: [...this.links.values()],
        neighbors: [...this.#neighbors.values()],
        routes: this.#routes.values().filter(isOurs).toArray(),
        defaultRoutes: [],
        nexthops: this.#nexthops.values().filter(isOurs).toArray(),
      };
      await this.readGate;
      if (this.readError !== undefined) throw this.readError;
      return seen;
    });
  }

  change(batch: readonly string[]): Promise<readonly FailedLine[]> {
    this.batches.push(batch);
    return this.#busy(async () => {
      await this.changeGate;
      return batch.flatMap((line) => {
        try {
          this.#run(line);
          return [];
        } catch (error) {
          if (!(error instanceof Refused)) throw error;
          const isGone = /^(route|nexthop) del /.test(line) && /No such/.test(error.message);
          return isGone ? [] : [{ line, reason: error.message }];
        }
      });
    });
  }

  routesTo(prefix: string): Promise<readonly IpRoute[]> {
    return Promise.resolve([...this.#routes.values()].filter(({ dst }) => dst === prefix));
  }

  /** Fails when it was told something that it does not know: whoever told it may have logged it only. */
  [Symbol.dispose](): void {
    assertEquals(this.#unknown, [], "lines of ip that the fake does not know");
  }

  async #busy<T>(step: () => Promise<T>): Promise<T> {
    this.mostAtOnce = Math.max(this.mostAtOnce, ++this.#atOnce);
    try {
      return await step();
    } finally {
      this.#atOnce--;
    }
  }

  #run(line: string): void {
    const [object, verb, ...rest] = line.split(" ");
    switch (`${object} ${verb}`) {
      case "link set":
        return rest[1] === "address"
          ? this.#setMac(rest[0]!, rest[2]!)
          : this.#setLink(rest[0]!, rest[1]);
      case "link del":
        return this.#loseLink(rest[0]!);
      case "addr replace":
      case "addr del":
        return this.#setAddress(verb!, rest[0]!, wordAfter(rest, "dev")!);
      case "neigh replace":
      case "neigh del":
        return this.#setNeighbor(verb!, rest);
      case "nexthop add":
      case "nexthop replace":
        return this.#setNexthop(verb!, rest);
      case "nexthop del":
        if (!this.#nexthops.has(Number(rest[1]))) throw new Refused(NO_ENTRY);
        return this.#loseNexthop(Number(rest[1]));
      case "route add":
      case "route replace":
      case "route del":
        return this.#setRoute(verb!, rest);
      default:
        this.#unknown.push(line);
        throw new Error(`Cannot run "ip ${line}": the fake does not know it`);
    }
  }

  #link(ifname: string | undefined): IpLink {
    const found = this.links.get(ifname ?? "");
    if (found === undefined) throw new Refused(`Cannot find device "${ifname}"`);
    return found;
  }

  /** Its neighbour entries go. */
  #setMac(ifname: string, mac: string): void {
    this.links.set(ifname, { ...this.#link(ifname), mac });
    for (const [key, { dev }] of this.#neighbors) if (dev === ifname) this.#neighbors.delete(key);
  }

  /** Down, it loses what leads to it and its IPv6 addresses, and says so of none of them. */
  #setLink(ifname: string, state: string | undefined): void {
    const up = state === "up";
    const { addresses, ...rest } = this.#link(ifname);
    const kept = up ? addresses : addresses.filter(({ family }) => family === "ipv4");
    this.links.set(ifname, { ...rest, up, carrier: up, addresses: kept });
    if (!up) this.#loseWays(ifname);
  }

  #loseLink(ifname: string): void {
    this.#link(ifname);
    this.links.delete(ifname);
    this.#loseWays(ifname);
  }

  #loseWays(ifname: string): void {
    for (const [key, { dev }] of this.#neighbors) if (dev === ifname) this.#neighbors.delete(key);
    for (const { id, dev } of this.#nexthops.values()) if (dev === ifname) this.#loseNexthop(id);
    for (const [key, { dev, nextHops }] of this.#routes) {
      const goes = dev === ifname || nextHops.some((hop) => hop.dev === ifname);
      if (goes) this.#routes.delete(key);
    }
  }

  #setAddress(verb: string, cidr: string, ifname: string): void {
    const found = this.#link(ifname);
    const [address = "", length] = cidr.split("/");
    const others = found.addresses.filter((one) => one.address !== address);
    const family = address.includes(":") ? "ipv6" : "ipv4";
    const flags = { temporary: false, deprecated: false, tentative: false, scope: "link" } as const;
    const one = { family, address, prefixLength: Number(length), ...flags } as const;
    const addresses = verb === "del" ? others : [...others, one];
    this.links.set(ifname, { ...found, addresses });
  }

  #setNeighbor(verb: string, words: readonly string[]): void {
    const [address = ""] = words;
    const dev = this.#link(wordAfter(words, "dev")).ifname;
    const key = `${dev} ${address}`;
    if (verb === "del" && !this.#neighbors.delete(key)) throw new Refused(NO_ENTRY);
    if (verb === "del") return;
    if (!this.#link(dev).up) throw new Refused(DOWN);
    const mac = wordAfter(words, "lladdr")!;
    this.#neighbors.set(key, { address, dev, mac, permanent: words.includes("permanent") });
  }

  #setNexthop(verb: string, words: readonly string[]): void {
    const id = Number(wordAfter(words, "id"));
    const protocol = wordAfter(words, "proto") ?? "";
    const there = this.#nexthops.get(id);
    if (verb === "add" && there !== undefined) throw new Refused(EXISTS);
    const group = wordAfter(words, "group");
    if (there !== undefined && (there.members === undefined) !== (group === undefined)) {
      throw new Refused(INVALID);
    }
    if (group === undefined) {
      const dev = this.#link(wordAfter(words, "dev"));
      if (!dev.up) throw new Refused(DOWN);
      const gateway = wordAfter(words, "via");
      const onlink = words.includes("onlink");
      this.#nexthops.set(id, { id, gateway, dev: dev.ifname, onlink, protocol });
      return;
    }
    const members = group.split("/").map((text) => text.split(",").map(Number))
      .map(([id, weight = 1]) => ({ id: id!, weight }));
    if (members.some((member) => !this.#nexthops.has(member.id))) throw new Refused(INVALID);
    const [buckets = 0, idleTimer = 0, unbalancedTimer = 0] = RESILIENT
      .map((key) => Number(wordAfter(words, key)));
    // What cannot be changed in place.
    if (there !== undefined && there.resilient?.buckets !== buckets) throw new Refused(INVALID);
    const resilient = { buckets, idleTimer, unbalancedTimer };
    this.#nexthops.set(id, { id, onlink: false, members, resilient, protocol });
  }

  /** Groups lose it, and go with their last; routes go with what they lead to. */
  #loseNexthop(id: number): void {
    this.#nexthops.delete(id);
    for (const [key, { nexthopId }] of this.#routes) if (nexthopId === id) this.#routes.delete(key);
    for (const group of [...this.#nexthops.values()]) {
      const members = group.members?.filter((member) => member.id !== id);
      if (members === undefined || members.length === group.members!.length) continue;
      if (members.length === 0) this.#loseNexthop(group.id);
      else this.#nexthops.set(group.id, { ...group, members });
    }
  }

  #setRoute(verb: string, words: readonly string[]): void {
    const type = words[0] === "unreachable" ? "unreachable" : "unicast";
    const dst = words[type === "unicast" ? 0 : 1]!;
    const ways = words.join(" ").split(" nexthop ").map((way) => way.split(" "));
    const [head = [], ...hops] = ways;
    const family = dst.includes(":") ? "ipv6" : "ipv4";
    const nhid = wordAfter(head, "nhid");
    const wanted: IpRoute = {
      family,
      dst,
      type,
      table: "main",
      protocol: wordAfter(head, "proto") ?? "boot",
      metric: Number(wordAfter(head, "metric") ?? 0),
      dev: wordAfter(head, "dev") ??
        (type === "unreachable" && family === "ipv6" ? "lo" : undefined),
      gateway: wordAfter(head, "via"),
      nextHops: hops.map((hop) => ({
        gateway: wordAfter(hop, "via"),
        dev: wordAfter(hop, "dev"),
        weight: Number(wordAfter(hop, "weight")),
      })),
      nexthopId: nhid === undefined ? undefined : Number(nhid),
      flags: head.includes("onlink") ? ["onlink"] : [],
    };
    const key = `${dst} ${wanted.metric}`;
    const there = this.#routes.get(key);
    if (verb === "del") {
      if (there === undefined || !matches(there, wanted, head)) throw new Refused(GONE);
      this.#routes.delete(key);
      return;
    }
    if (verb === "add" && there !== undefined) throw new Refused(EXISTS);
    const needed = [wanted.dev, ...wanted.nextHops.map(({ dev }) => dev)];
    for (const dev of needed) {
      if (dev !== undefined && dev !== "lo" && !this.#link(dev).up) throw new Refused(DOWN);
    }
    if (wanted.nexthopId !== undefined && !this.#nexthops.has(wanted.nexthopId)) {
      throw new Refused(INVALID);
    }
    this.#routes.set(key, wanted);
  }
}

/** What is said of a route that is to go has to be so. */
function matches(there: IpRoute, said: IpRoute, words: readonly string[]): boolean {
  return there.type === said.type &&
    (!words.includes("proto") || there.protocol === said.protocol) &&
    (!words.includes("dev") || there.dev === said.dev) &&
    (!words.includes("nhid") || there.nexthopId === said.nexthopId);
}

function isOurs({ protocol }: { readonly protocol: string }): boolean {
  return protocol === "143" || protocol === "144";
}

function textOf({ type, dst, dev, nexthopId, nextHops, protocol, metric }: IpRoute): string {
  const hops = nextHops.map((hop) => `${hop.dev}*${hop.weight}`).join("+");
  const way = type === "unicast" ? (nexthopId === undefined ? dev ?? hops : "group") : type;
  return `${dst} ${way} ${protocol} ${metric}`;
}

function wordAfter(words: readonly string[], key: string): string | undefined {
  const at = words.indexOf(key);
  return at === -1 ? undefined : words[at + 1];
}
