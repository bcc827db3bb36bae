/**
 * Gathers what `flock doctor` judges. Each fact is gathered for itself: what cannot be read makes its
 * own checks be skipped, and no others.
 *
 * @module
 */
import { formatAddress } from "../core/cidr.ts";
import { NFT_TABLE } from "../core/config.ts";
import { messageOf } from "../core/errors.ts";
import { TCP_COUNTERS } from "../core/doctor/bgp.ts";
import type {
  ClockFacts,
  ClusterFacts,
  Fact,
  Facts,
  PeerPath,
  PluginState,
  PolicyFacts,
  RuntimeFacts,
} from "../core/doctor/facts.ts";
import { valueOf } from "../core/doctor/facts.ts";
import { sysctlPaths } from "../core/doctor/kernel.ts";
import { TIMESYNC_FILE } from "../core/doctor/machine.ts";
import { SERVICE_FILES, SERVICE_PROCESSES } from "../core/doctor/services.ts";
import { mergeDefault, type NodeConfig, parseNodeConfig } from "../core/node_config.ts";
import type { NodeConfigObject } from "../core/objects.ts";
import type { PolicyList } from "../core/policy_inspection.ts";
import { isBgpSocket } from "../core/tcp_sockets.ts";
import { createBirdc } from "../io/birdc.ts";
import { chronyStatus } from "../io/chrony.ts";
import { askPlugin } from "../io/cni_plugin.ts";
import { listConfigs } from "../io/conflists.ts";
import { readDirState } from "../io/disk.ts";
import { parentOf, readTextIfPresent } from "../io/fs.ts";
import { viewHost } from "../io/host_view.ts";
import { pathTo, surveyIp } from "../io/ip_survey.ts";
import { tryFeatures } from "../io/kernel_features.ts";
import { createNft } from "../io/nft.ts";
import { readNodeConfigs } from "../io/node_configs.ts";
import { AgentAbsentError, callAgent } from "../io/socket.ts";
import { createSysctl } from "../io/sysctl.ts";
import { listSpeakers, readTcpCounters } from "../io/tcp_view.ts";
import { readToolVersions } from "../io/tool_versions.ts";

/** Where things are. */
export interface DoctorPaths {
  readonly stateDir: string;
  readonly socket: string;
  readonly birdSocket: string;
  readonly pluginDir: string;
  readonly conflist: string;
  /** Directory with all NodeConfigs, for comparing. */
  readonly manifests?: string;
  /** The node's name where the agent has not written it down. */
  readonly node: string;
}

const NO_MANIFESTS =
  "no --manifests DIR; kubectl get nodeconfigs -o yaml >DIR/all.yaml makes one on a cluster";
const BGP_PORT = 179;

/** Gathers everything. */
export async function gatherFacts(paths: DoctorPaths): Promise<Facts> {
  const cluster = paths.manifests === undefined
    ? { unknown: NO_MANIFESTS }
    : await fact(() => readCluster(paths.manifests!));
  const config = await readConfig(paths, valueOf(cluster));
  const node = valueOf(config);
  const network = await fact(() => surveyIp());
  const ports = [BGP_PORT, ...(node?.bgp.peers ?? []).map(({ port }) => port)];
  const [
    sysctls,
    host,
    features,
    tools,
    peers,
    bird,
    speakers,
    tcp,
    clock,
    stateDir,
    runtime,
    agent,
    policies,
  ] = await Promise.all([
    fact(() => createSysctl().read(sysctlPaths(valueOf(network)?.links ?? []))),
    fact(() => viewHost(SERVICE_PROCESSES, [...SERVICE_FILES, TIMESYNC_FILE])),
    fact(() => tryFeatures()),
    fact(() => readToolVersions()),
    "unknown" in config ? config : fact(() => readPeers(config.known)),
    fact(() => readBird(paths.birdSocket)),
    fact(() => listSpeakers((socket) => isBgpSocket(socket, ports))),
    fact(() => readTcpCounters(TCP_COUNTERS)),
    fact(() => readClock(paths)),
    present(`${paths.stateDir} does not exist`, async () => {
      const state = await readDirState(paths.stateDir);
      return state && { path: paths.stateDir, ...state };
    }),
    present(`${parentOf(paths.conflist)} does not exist`, () => readRuntime(paths)),
    present(`no agent answers on ${paths.socket}`, () => readAgent(paths.socket)),
    present(`no agent answers on ${paths.socket}`, () => readPolicies(paths.socket)),
  ]);
  const nodeName = { known: node?.name ?? paths.node };
  return {
    ...{ network, sysctls, host, features, tools, config, cluster, peers, bird, speakers, tcp },
    ...{ clock, stateDir, runtime, agent, policies, nodeName },
  };
}

async function fact<T>(read: () => Promise<T>): Promise<Fact<T>> {
  try {
    return { known: await read() };
  } catch (error) {
    return { unknown: messageOf(error) };
  }
}

/** A fact about something that need not be there. */
async function present<T>(
  absent: string,
  read: () => Promise<T | undefined>,
): Promise<Fact<T>> {
  const found = await fact(read);
  if ("unknown" in found) return found;
  return found.known === undefined ? { unknown: absent } : { known: found.known };
}

async function readCluster(dir: string): Promise<ClusterFacts> {
  const { objects, problems } = await readNodeConfigs(dir);
  const fallback = objects.find(({ name }) => name === DEFAULT_NAME);
  const configs: NodeConfig[] = [];
  const refused: string[] = [...problems];
  for (const object of objects) {
    if (object === fallback) continue;
    try {
      configs.push(parseNodeConfig(mergeDefault(object, fallback)).config);
    } catch (error) {
      refused.push(messageOf(error));
    }
  }
  return { dir, configs, refused };
}

/** The NodeConfig in force, as the agent keeps it; else the one of the node's name among all. */
async function readConfig(
  { stateDir, node }: DoctorPaths,
  cluster: ClusterFacts | undefined,
): Promise<Fact<NodeConfig>> {
  const file = `${stateDir}/node_config.json`;
  const kept = await fact(async () => {
    const text = await readTextIfPresent(file);
    return text && parseNodeConfig(JSON.parse(text) as NodeConfigObject).config;
  });
  if ("unknown" in kept) return { unknown: `${file} cannot be used: ${kept.unknown}` };
  const config = kept.known || cluster?.configs.find(({ name }) => name === node);
  if (config) return { known: config };
  return { unknown: `the node's NodeConfig is not known: there is no ${file}` };
}

async function readPeers(config: NodeConfig): Promise<readonly PeerPath[]> {
  return await Promise.all(config.bgp.peers.map(async (peer) => ({
    peer,
    ...await pathTo(formatAddress(peer.address)),
  })));
}

async function readBird(
  socket: string,
): Promise<Extract<Facts["bird"], { known: unknown }>["known"]> {
  const birdc = createBirdc({ socket });
  const { routerId } = await birdc.status();
  return { routerId, sessions: await birdc.sessions(), bfd: await birdc.bfdSessions() };
}

async function readClock({ stateDir, conflist }: DoctorPaths): Promise<ClockFacts> {
  const files = ["allocations.json", "node_config.json", "router_id"].map((n) =>
    `${stateDir}/${n}`
  );
  const written = await Promise.all([...files, conflist].map(async (path) => {
    const info = await Deno.stat(path).catch(() => undefined);
    return { path, writtenAt: info?.mtime?.getTime() ?? -Infinity };
  }));
  const newest = written.reduce((a, b) => a.writtenAt >= b.writtenAt ? a : b);
  return {
    now: Date.now(),
    newest: newest.writtenAt === -Infinity ? undefined : newest,
    chrony: await chronyStatus(),
  };
}

async function readRuntime(
  { conflist, pluginDir }: DoctorPaths,
): Promise<RuntimeFacts | undefined> {
  const dir = parentOf(conflist);
  if (await readDirState(dir) === undefined) return undefined;
  const configs = await listConfigs(dir);
  const judged = configs.filter((config, i) => i === 0 || config.own);
  const types = new Set(judged.flatMap(({ plugins }) => plugins).filter(isPluginName));
  const plugins = await Promise.all(
    [...types].map(async (type) => [type, await stateOf(`${pluginDir}/${type}`)] as const),
  );
  const portmap = types.has("portmap") ? "missing" : await stateOf(`${pluginDir}/portmap`);
  if (portmap !== "missing") plugins.push(["portmap", portmap]);
  return { dir, configs, pluginDir, plugins: Object.fromEntries(plugins) };
}

/** Runtimes refuse others, and doctor runs what it asks. */
function isPluginName(type: string): boolean {
  return /^[\w][\w.-]*$/.test(type);
}

/** Of a plugin's file, and what it answers. */
async function stateOf(path: string): Promise<PluginState> {
  try {
    const { mode, isFile } = await Deno.stat(path);
    return isFile && (mode ?? 0) & 0o111 ? await askPlugin(path) : "not executable";
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "missing";
    throw error;
  }
}

/** What STATUS says; undefined without an agent. */
async function readAgent(socket: string): Promise<string | undefined> {
  try {
    await callAgent(socket, { op: "STATUS" }, { connectMs: 0, timeoutMs: 5_000 });
    return "";
  } catch (error) {
    if (error instanceof AgentAbsentError) return undefined;
    return messageOf(error);
  }
}

/** Whether policies are in force; undefined without an agent. */
async function readPolicies(socket: string): Promise<PolicyFacts | undefined> {
  try {
    const [answer, hasTable] = await Promise.all([
      callAgent(socket, { op: "policies" }, { connectMs: 0, timeoutMs: 5_000 }),
      createNft().hasTable("inet", NFT_TABLE),
    ]);
    const { inForce, error } = answer as PolicyList;
    return { inForce, error, hasTable };
  } catch (error) {
    if (error instanceof AgentAbsentError) return undefined;
    throw error;
  }
}

/** Name of the NodeConfig that supplies what a node's own leaves out. */
const DEFAULT_NAME = "default";
