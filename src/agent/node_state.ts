/**
 * What the node is at the moment: the NodeConfig in force and the kernel's links. A NodeConfig that is
 * refused changes nothing: the last good one stays in force, also over a restart.
 *
 * @module
 */
import {
  formatPrefix,
  hostPrefix,
  parseAddress,
  type Prefix,
  prefixOf,
  scopeOf,
} from "../core/cidr.ts";
import { DEFAULT_NODE_CONFIG, IPVS_LINK } from "../core/config.ts";
import type { IpLink } from "../core/ip_state.ts";
import {
  mergeDefault,
  mergePodCidrs,
  type NodeConfig,
  parseNodeConfig,
} from "../core/node_config.ts";
import type { ConfigSources } from "../core/effective_config.ts";
import type { ClusterSource, NodeConfigObject } from "../core/objects.ts";
import { isHostIfname } from "../core/wiring.ts";
import { readTextIfPresent, writeFileDurable } from "../io/fs.ts";
import type { NodeKernel } from "../io/ip.ts";
import { log } from "../log.ts";

/** MTU where neither a configuration nor a default route says another. */
const FALLBACK_MTU = 1500;

/** The node's configuration in force and its links. */
export class NodeState {
  readonly #node: string;
  readonly #file: string;
  #seen = "";
  #object: NodeConfigObject | undefined;
  #config: NodeConfig | undefined;
  #error: string | undefined;
  #kernel: NodeKernel = { links: [], routes: [], defaultRoutes: [] };
  #reserved: readonly Prefix[] | undefined;
  #sources: ConfigSources | undefined;

  constructor(node: string, stateDir: string) {
    this.#node = node;
    this.#file = `${stateDir}/node_config.json`;
  }

  /** The configuration in force; undefined when there never was a good one. */
  get config(): NodeConfig | undefined {
    return this.#config;
  }

  /** What the configuration in force was made of; undefined when it is one of an earlier run. */
  get sources(): ConfigSources | undefined {
    return this.#sources;
  }

  /** The node's own NodeConfig as it was last read, good or bad; undefined when there is none. */
  get object(): NodeConfigObject | undefined {
    return this.#object;
  }

  /** Why the NodeConfig that is there was refused; undefined when it is in force. */
  get error(): string | undefined {
    return this.#error;
  }

  /** Links and routes as last read. */
  get kernel(): NodeKernel {
    return this.#kernel;
  }

  set kernel(kernel: NodeKernel) {
    const addresses = (state: NodeKernel): string =>
      JSON.stringify([
        nodeLinks(state).map((link) => link.addresses.map(({ address }) => address)),
        gatewaysOf(state),
      ]);
    if (addresses(kernel) !== addresses(this.#kernel)) this.#reserved = undefined;
    this.#kernel = kernel;
  }

  /** Every prefix of the node, IPv6 first. */
  get nodePrefixes(): readonly Prefix[] {
    return this.#config ? [...this.#config.cidr6, ...this.#config.cidr4] : [];
  }

  /** Prefixes of which no pod gets an address. The same list as long as nothing changed. */
  get reserved(): readonly Prefix[] {
    return this.#reserved ??= [
      ...this.#config?.reserved ?? [],
      ...(this.#config?.bgp.peers ?? []).map(({ address }) => hostPrefix(address)),
      ...this.#nodeAddresses(),
    ];
  }

  /** MTU of a new pod's link: the network configuration's, the NodeConfig's, or that of the way out. */
  mtu(asked: number | undefined): number {
    const uplinks = nodeLinks(this.#kernel).filter(({ ifname }) =>
      ifname !== "lo" &&
      this.#kernel.defaultRoutes.some((route) =>
        route.dev === ifname || route.nextHops.some(({ dev }) => dev === ifname)
      )
    );
    const smallest = uplinks.length > 0 ? Math.min(...uplinks.map(({ mtu }) => mtu)) : undefined;
    return asked ?? this.#config?.mtu ?? smallest ?? FALLBACK_MTU;
  }

  /**
   * Takes over the NodeConfig as the source has it now.
   *
   * @returns true when the configuration in force changed
   */
  async update(source: ClusterSource): Promise<boolean> {
    const own = source.nodeConfig(this.#node);
    this.#object = own;
    if (own === undefined) {
      // What was refused is gone with it; the same one again is read again.
      this.#error = undefined;
      if (this.#config === undefined) {
        this.#seen = "";
        return source.damaged === true && await this.#restore();
      }
      if (this.#seen === "gone") return false;
      this.#seen = "gone";
      log.warn("Lost NodeConfig, kept the last one in force", { node: this.#node });
      return false;
    }
    const fallback = source.nodeConfig(DEFAULT_NODE_CONFIG);
    const podCidrs = source.node(this.#node)?.podCidrs ?? [];
    const object = mergePodCidrs(mergeDefault(own, fallback), podCidrs);
    const seen = JSON.stringify([object.annotations, object.spec]);
    if (seen === this.#seen) return false;
    this.#seen = seen;
    try {
      const { config, warnings } = parseNodeConfig(object);
      this.#accept(config);
      this.#sources = { own, fallback, podCidrs };
      for (const warning of warnings) log.warn("Found doubtful field in NodeConfig", { warning });
      log.info("Accepted NodeConfig", {
        node: this.#node,
        generation: object.generation,
        prefixes: this.nodePrefixes.map(formatPrefix),
      });
    } catch (error) {
      this.#error = error instanceof Error ? error.message : String(error);
      log.error("Refused NodeConfig", {
        node: this.#node,
        generation: object.generation,
        err: error,
      });
      return this.#config === undefined && await this.#restore();
    }
    await writeFileDurable(this.#file, JSON.stringify(object)).catch((error) =>
      log.warn("Could not remember NodeConfig", { file: this.#file, err: error })
    );
    return true;
  }

  /** The last good one of an earlier run, where there is none now, or one that is refused. */
  async #restore(): Promise<boolean> {
    try {
      const text = await readTextIfPresent(this.#file);
      if (text === undefined) return false;
      const error = this.#error;
      this.#accept(parseNodeConfig(JSON.parse(text) as NodeConfigObject).config);
      this.#sources = undefined;
      this.#error = error;
      log.warn("Kept last good NodeConfig in force", { file: this.#file });
      return true;
    } catch (error) {
      log.warn("Could not read the last good NodeConfig", { file: this.#file, err: error });
      return false;
    }
  }

  #accept(config: NodeConfig): void {
    const wasOpen = this.#config !== undefined && this.#config.announce.allowed === undefined;
    if (config.announce.allowed === undefined && !wasOpen) {
      log.warn("Let pods of every namespace announce any address", {
        node: this.#node,
        missing: "spec.announce.allowed",
      });
    }
    this.#config = config;
    this.#error = undefined;
    this.#reserved = undefined;
  }

  #nodeAddresses(): readonly Prefix[] {
    const texts = [
      ...nodeLinks(this.#kernel).flatMap((link) => link.addresses.map(({ address }) => address)),
      ...gatewaysOf(this.#kernel),
    ];
    return texts.map(parseAddress).filter((a) => scopeOf(a) === "unicast").map(hostPrefix);
  }
}

/** The routers that the default routes go to. */
function gatewaysOf({ defaultRoutes }: NodeKernel): readonly string[] {
  return defaultRoutes.flatMap(({ gateway, nextHops }) =>
    [gateway, ...nextHops.map((hop) => hop.gateway)].filter((text) => text !== undefined)
  );
}

/** The links that are the node's own, not a pod's. */
export function nodeLinks({ links }: Pick<NodeKernel, "links">): readonly IpLink[] {
  return links.filter(({ ifname }) => !isHostIfname(ifname));
}

/**
 * Networks that the node's own links are on. Not the addresses of Services, which kube-proxy binds to a
 * link of its own: they come and go, and are no network.
 */
export function connectedPrefixes(kernel: NodeKernel): readonly Prefix[] {
  return nodeLinks(kernel).filter(({ ifname }) => ifname !== IPVS_LINK).flatMap(({ addresses }) =>
    addresses.flatMap(({ address: text, prefixLength }) => {
      const address = parseAddress(text);
      return scopeOf(address) === "unicast" ? [prefixOf(address, prefixLength)] : [];
    })
  );
}
