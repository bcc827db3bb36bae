/**
 * A node of the lab: a host with an agent and a BIRD of its own, both run from the executable, and the
 * plugin, which is exec'd as a container runtime does it.
 *
 * @module
 */
import type { Background } from "./background.ts";
import { type ExecResult, Host, type Site } from "./host.ts";
import type { NodePlan } from "./plan.ts";
import { Pod, type PodOptions, type PodResult } from "./pod.ts";
import { until, type WaitOptions } from "./wait.ts";

export type CniVerb = "ADD" | "DEL" | "CHECK" | "GC" | "STATUS" | "VERSION";

export interface CniOptions {
  /** Keys of the network configuration, over the usual ones. */
  readonly conf?: Readonly<Record<string, unknown>>;
  /** Variables, over the usual ones; `undefined` takes one away. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Standard input instead of the network configuration. */
  readonly stdin?: string;
}

/** What the plugin answered. */
export interface CniAnswer extends ExecResult {
  /** Its standard output, parsed; `undefined` when it printed nothing. */
  readonly json?: Record<string, unknown>;
}

/** What agents read the cluster's objects from. */
export interface LabSource extends AsyncDisposable {
  /** An agent's arguments that name it, once it holds all that is in the directory of manifests. */
  agentArgs(): Promise<readonly string[]>;
}

/** What a node needs of its lab. */
export interface NodeSite extends Site {
  readonly executable: string;
  /** Directory of the cluster's objects: one for all nodes, as an API server is. */
  readonly manifestsDir: string;
  /** In place of that directory. */
  source?: LabSource;
  /** Further arguments of every agent. */
  readonly agentArgs: readonly string[];
  /** Number for a new pod. */
  nextPod(): number;
}

export class Node extends Host {
  agent: Background | undefined;
  bird: Background | undefined;
  readonly pods: Pod[] = [];
  readonly #site: NodeSite;

  constructor(site: NodeSite, readonly plan: NodePlan) {
    super(site, plan.name);
    this.#site = site;
  }

  get manifestsDir(): string {
    return this.#site.manifestsDir;
  }
  /** The agent's socket. */
  get socket(): string {
    return `${this.dir}/run/flock.sock`;
  }
  get stateDir(): string {
    return `${this.dir}/state`;
  }
  get birdConfig(): string {
    return `${this.dir}/bird/bird.conf`;
  }
  get birdSocket(): string {
    return `${this.dir}/bird/bird.ctl`;
  }

  /**
   * Starts the agent; see `waitReady`.
   *
   * @param options.via command line in front of the executable's, which it has to exec
   */
  async startAgent(
    options: {
      args?: readonly string[];
      env?: Readonly<Record<string, string>>;
      via?: readonly string[];
    } = {},
  ): Promise<Background> {
    const { source } = this.#site;
    const sourceArgs = await source?.agentArgs() ?? ["--manifests", this.manifestsDir];
    this.agent = await this.spawn("agent", [
      ...options.via ?? [],
      this.#site.executable,
      "agent",
      ...["--node", this.name, ...sourceArgs],
      ...["--socket", this.socket, "--state-dir", this.stateDir],
      ...["--bird-config", this.birdConfig, "--bird-socket", this.birdSocket],
      ...["--metrics-address", "", "--log-level", "debug"],
      ...this.#site.agentArgs,
      ...options.args ?? [],
    ], { env: options.env });
    return this.agent;
  }

  /** Stops the agent: SIGTERM lets it finish what it was asked. */
  async stopAgent(signal: Deno.Signal = "SIGTERM"): Promise<Deno.CommandStatus | undefined> {
    return await this.agent?.stop(signal);
  }

  /** Kills the agent where it is. */
  async killAgent(): Promise<void> {
    await this.stopAgent("SIGKILL");
  }

  /** Starts BIRD as the container of the `flock-bird` DaemonSet does. */
  async startBird(): Promise<Background> {
    this.bird = await this.spawn("bird", [
      this.#site.executable,
      "bird-run",
      ...["--bird-config", this.birdConfig, "--bird-socket", this.birdSocket],
    ]);
    return this.bird;
  }

  async stopBird(signal: Deno.Signal = "SIGTERM"): Promise<void> {
    await this.bird?.stop(signal);
  }

  /** Waits until the agent can serve ADD: the plugin's STATUS succeeds. */
  async waitReady(options: WaitOptions = {}): Promise<void> {
    await until(`agent of ${this.name} ready`, async () => {
      await this.agent?.assertRunning();
      const { code, stdout, stderr } = await this.cni("STATUS");
      if (code !== 0) throw new Error(stdout.trim() || stderr.trim() || `exit status ${code}`);
      return true;
    }, options);
  }

  /** Puts objects into a file of the manifests directory, or removes it when there are none. */
  async writeManifest(name: string, objects: readonly unknown[]): Promise<void> {
    await writeManifest(this.manifestsDir, name, objects);
  }

  /** Makes a pod: its network namespace and its manifest. It is not attached yet. */
  async createPod(options: PodOptions): Promise<Pod> {
    const pod = await Pod.create(this.#site, this.#site.nextPod(), options);
    this.pods.push(pod);
    await this.updatePod(pod);
    return pod;
  }

  /** Writes a pod's manifest, with a change that is not remembered: `{ ready: false }`. */
  async updatePod(pod: Pod, change: Partial<PodOptions> = {}): Promise<void> {
    await this.writeManifest(`pod-${pod.name}.json`, [pod.manifest(this.name, change)]);
  }

  /** Removes a pod's manifest and its namespace, as after a DEL. */
  async removePod(pod: Pod): Promise<void> {
    await this.writeManifest(`pod-${pod.name}.json`, []);
    await pod.remove();
    this.pods.splice(this.pods.indexOf(pod), 1);
  }

  /** The network configuration that the plugin gets on standard input. */
  netConf(over: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
    return {
      cniVersion: "1.1.0",
      name: "flock",
      type: "flock",
      socket: this.socket,
      stateDir: this.stateDir,
      ...over,
    };
  }

  /** The environment that the plugin gets, and nothing else. */
  cniEnv(verb: CniVerb, pod?: Pod): Record<string, string> {
    const CNI_PATH = this.#site.executable.replace(/\/[^/]*$/, "");
    if (pod === undefined) return { CNI_COMMAND: verb, CNI_PATH };
    return {
      CNI_COMMAND: verb,
      CNI_CONTAINERID: pod.containerId,
      CNI_NETNS: pod.netnsPath,
      CNI_IFNAME: "eth0",
      CNI_ARGS: pod.cniArgs,
      CNI_PATH,
    };
  }

  /** Execs the plugin on this node, as a container runtime does it. Any exit status is an answer. */
  async cni(verb: CniVerb, pod?: Pod, options: CniOptions = {}): Promise<CniAnswer> {
    const env = Object.entries({ ...this.cniEnv(verb, pod), ...options.env })
      .filter((entry): entry is [string, string] => entry[1] !== undefined);
    const result = await this.attempt([this.#site.executable], {
      env: Object.fromEntries(env),
      stdin: options.stdin ?? JSON.stringify(this.netConf(options.conf)),
      timeoutMs: 40_000,
    });
    return { ...result, json: result.stdout === "" ? undefined : JSON.parse(result.stdout) };
  }

  /**
   * ADD; the result is kept in the pod.
   *
   * @throws {Error} with what the plugin said when it failed
   */
  async add(pod: Pod, options: CniOptions = {}): Promise<PodResult> {
    const { json } = await this.#succeed("ADD", pod, options);
    pod.result = json as unknown as PodResult;
    return pod.result;
  }

  /** CHECK, with the result of the pod's ADD as prevResult. */
  async check(pod: Pod, options: CniOptions = {}): Promise<void> {
    await this.#succeed("CHECK", pod, withPrevResult(pod, options));
  }

  /** DEL, with the result of the pod's ADD as prevResult. */
  async del(pod: Pod, options: CniOptions = {}): Promise<void> {
    await this.#succeed("DEL", pod, withPrevResult(pod, options));
  }

  async #succeed(verb: CniVerb, pod: Pod, options: CniOptions): Promise<CniAnswer> {
    const answer = await this.cni(verb, pod, options);
    if (answer.code === 0) return answer;
    const said = answer.stdout.trim() || answer.stderr.trim() || `exit status ${answer.code}`;
    throw new Error(`Cannot ${verb} pod "${pod.key}" on ${this.name}: ${said}`);
  }
}

/** Puts objects into a file of a manifests directory at once (a rename); without objects removes it. */
export async function writeManifest(
  dir: string,
  name: string,
  objects: readonly unknown[],
): Promise<void> {
  if (objects.length === 0) return await Deno.remove(`${dir}/${name}`);
  // YAML documents; each is JSON.
  await Deno.writeTextFile(
    `${dir}/.${name}`,
    objects.map((o) => JSON.stringify(o)).join("\n---\n"),
  );
  await Deno.rename(`${dir}/.${name}`, `${dir}/${name}`);
}

function withPrevResult(pod: Pod, options: CniOptions): CniOptions {
  if (pod.result === undefined) return options;
  return { ...options, conf: { prevResult: pod.result, ...options.conf } };
}
