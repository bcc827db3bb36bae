/**
 * The agent: puts the parts together, in the order they are needed, and runs until it is told to stop.
 * Read it from top to bottom.
 *
 * @module
 */
import type { AnycastAddress } from "../core/anycast.ts";
import { type Attachment, attachmentKey } from "../core/attachment.ts";
import type { AgentSettings, SettingOrigin } from "../core/agent_settings.ts";
import { TerminalError } from "../core/errors.ts";
import { Ipam } from "../core/ipam.ts";
import { createBirdc } from "../io/birdc.ts";
import { isQueued, removeDeletion } from "../io/deletion_queue.ts";
import { runCommand } from "../io/command.ts";
import { createIp } from "../io/ip.ts";
import { createNetns } from "../io/netns.ts";
import { runIpMonitor } from "../io/ip_monitor.ts";
import type { IpEvent } from "../core/ip_events.ts";
import { createConntrack } from "../io/conntrack.ts";
import { createNft } from "../io/nft.ts";
import { probeNexthops } from "../io/nexthops.ts";
import { serveAgent } from "../io/socket.ts";
import { openStore } from "../io/store.ts";
import { createSysctl } from "../io/sysctl.ts";
import { log } from "../log.ts";
import { VERSION } from "../version.ts";
import { AnnotationHolds } from "./annotation_holds.ts";
import { AnycastMembers } from "./anycast_members.ts";
import { BgpInput } from "./bgp_input.ts";
import { BgpSessions } from "./bgp_sessions.ts";
import { BgpSpeaker } from "./bgp.ts";
import { birdHealth } from "./bird_health.ts";
import { BirdLooks } from "./bird_look.ts";
import { ChangeLog } from "./change_log.ts";
import { ChangeQueue } from "./change_queue.ts";
import { createStart } from "./clock.ts";
import { type AgentParts, openCluster } from "./cluster.ts";
import { ConflistKeeper } from "./conflist.ts";
import { forgetConnections } from "./connections.ts";
import { replayDeletions, watchQueue } from "./deletions.ts";
import { Drain, drainOperations } from "./drain.ts";
import { LeakCollector } from "./gc.ts";
import { explainOperations } from "./explain.ts";
import { birdAnswer, serveHealth } from "./health.ts";
import { readBootId } from "./host_setup.ts";
import { inspectOperations } from "./inspect.ts";
import { policyOperations } from "./inspect_policies.ts";
import { onUnheld, runLoops } from "./loops.ts";
import { KernelSync } from "./kernel_sync.ts";
import { AgentMetrics } from "./metrics/metrics.ts";
import { NodeState } from "./node_state.ts";
import { createPage, inspectAll, pageOperations } from "./page.ts";
import { PeerPasswords } from "./peer_passwords.ts";
import { withPodEvents } from "./pod_events.ts";
import { PolicyEnforcer } from "./policies.ts";
import { EnforcedState } from "./policy_state.ts";
import { PodNetwork } from "./pod_network.ts";
import { completeNames, recoverAttachments } from "./recovery.ts";
import { Reconciler } from "./reconciler.ts";
import { RefusalReport } from "./refusals.ts";
import { createReporters } from "./reporters.ts";
import { cniOperations, createHandler } from "./server.ts";
import { SessionAddresses } from "./session_addresses.ts";
import { SharedLook } from "./shared_look.ts";
import { SysctlSync } from "./sysctl_sync.ts";
import { createTracing } from "./tracing.ts";
import { Turns } from "./turns.ts";

/** How long requests under way may take to finish when the agent stops, in milliseconds. */
const STOP_GRACE_MS = 10_000;
/** How long the loops may take to end after that, in milliseconds. */
const STOP_LOOPS_MS = 5_000;

/**
 * Runs the agent until the signal aborts. Pods, routes and BIRD stay as they are.
 *
 * @throws {TerminalError} when it cannot start, and trying again would not help
 */
export async function runAgent(
  settings: AgentSettings & { readonly origins?: readonly SettingOrigin[] },
  signal: AbortSignal,
  parts: AgentParts,
): Promise<void> {
  const { node: nodeName, stateDir, birdSocket, birdConfig } = settings;
  const { origins = [], ...logged } = settings;
  log.info("Started agent", { version: VERSION, ...logged });
  const start = createStart();

  // First, because it can refuse: an agent that does not start leaves node and state as they are.
  await using stack = new AsyncDisposableStack();
  const { source, writer } = stack.use(await openCluster(settings, parts));

  // What survived: the store, locked against a second agent.
  const sysctl = createSysctl();
  const store = stack.use(
    await openStore(stateDir, { node: nodeName, bootId: await readBootId(sysctl) }),
  );
  if (store.rebooted) {
    log.info("Forgot attachments of an earlier boot", { count: store.previous.length });
  }

  // The node.
  const support = await probeNexthops();
  const ip = createIp(runCommand, { nexthops: support !== "none" });
  const netns = createNetns();
  const birdc = createBirdc({ socket: birdSocket });
  const nft = createNft();
  const node = new NodeState(nodeName, stateDir);
  node.kernel = await ip.observe({ aliases: true });
  const sysctls = new SysctlSync({ sysctl, stateDir, node, store, writes: settings.sysctls });
  await sysctls.sync();

  await recoverAttachments(store, node.kernel, new Date());

  // The parts.
  const metrics = new AgentMetrics();
  const { instruments } = metrics;
  const turns = new Turns((loop, seconds) => instruments.turn(loop, seconds));
  const ipam = new Ipam(randomBits);
  const holds = new AnnotationHolds(ipam);
  const network = new PodNetwork({
    node,
    nodeName,
    source,
    store,
    ipam,
    ip,
    netns,
    now: () => new Date(),
    queue: {
      has: (id) => isQueued(stateDir, id),
      remove: (id) => removeDeletion(stateDir, id),
    },
    forget: forgetConnections(createConntrack()),
    admit: (pod, signal) => policies.admit(pod, signal),
    notAdmitting: () => policies.notReady,
    onChange: (attachment) => {
      reconciler.markDirty();
      // An ADD has seen to its rules itself.
      if (store.get(attachmentKey(attachment)) === undefined) policies.wake();
      if (attachment.anycast !== undefined) reconciler.markPodsChanged();
    },
    withdraw: (attachment) => reconciler.withdraw(attachment),
    onLeak: (source) => instruments.leak(source),
  });
  const policies: PolicyEnforcer = new PolicyEnforcer({
    ...{ source, store, node, nodeName, turns },
    nft,
    intervalMs: settings.routeReconcileIntervalMs,
    onApply: (result, seconds) => instruments.policyApply(result, seconds),
    // The node is ready now.
    onFirst: () => sourceChanges.add(),
  });
  const speaker = stack.use(
    new BgpSpeaker({
      path: birdConfig,
      birdc,
      onReload: (result, seconds) => {
        instruments.reload(result, seconds);
        sessions.wake();
      },
    }),
  );
  const addresses = await SessionAddresses.open(stateDir);
  const sessions = new BgpSessions({
    birdc,
    node,
    addresses,
    onChange: () => {
      for (const reporter of reporters) reporter.wake();
    },
  });
  const passwords = new PeerPasswords({
    node,
    reader: writer,
    onChange: () => reconciler.markDirty(),
  });
  const attachments = (): readonly Attachment[] => store.list();
  const drain: Drain = await Drain.open({
    stateDir,
    ip,
    addresses: () => [...new Set(attachments().flatMap(({ anycast = [] }) => anycast))].sort(),
    announced: () => bgpInput.gracefulShutdown && speaker.state.applied,
    onChange: () => {
      reconciler.markDirty();
      for (const reporter of reporters) reporter.wake();
    },
  });
  const bgpInput = new BgpInput({
    ...{ ip, node, nodeName, stateDir, passwords, addresses, attachments, drain },
  });
  const refusals = new RefusalReport(writer);
  const changes = new ChangeLog(() => new Date());
  const members = new AnycastMembers({
    onChanges: (change, count) => instruments.memberChanges(change, count),
  });
  const kernel = new KernelSync({ ip, sticky: support === "resilient", changes });
  const reconciler: Reconciler = new Reconciler({
    ...{ kernel, sysctls },
    store,
    source,
    node,
    bgpInput,
    speaker,
    drained: () => drain.withdrawn,
    onRefusals: (refused) => refusals.update(refused),
    changes: {
      noteAnycast(addresses) {
        changes.noteAnycast(addresses);
        members.note(addresses);
      },
    },
    intervalMs: settings.routeReconcileIntervalMs,
    turns,
    onTransitions: (transitions, seconds) => instruments.transitions(transitions, seconds),
  });

  // What the cluster is told, where there is one.
  const anycast = (): readonly AnycastAddress[] => reconciler.anycast;
  const reporters = createReporters({
    ...{ nodeName, node, source, attachments, anycast, speaker, bgpInput, drain, sessions, birdc },
  }, writer);

  // Sessions that are up already, from before addresses were kept, stay where they are.
  if (addresses.isEmpty) await sessions.look();

  // What the last agent left unfinished is made true before anything is served.
  await network.detachPending().catch((error) =>
    log.error("Could not tear down unfinished attachments", { err: error })
  );
  await replayDeletions(stateDir, network);

  const stop = new AbortController();
  const fail = (reason: unknown): void => stop.abort(reason);
  using _ = onUnheld(fail);
  signal.addEventListener("abort", () => stop.abort(), { once: true });
  if (signal.aborted) stop.abort();

  const conflist = settings.conflist === undefined ? undefined : new ConflistKeeper({
    ...{ file: settings.conflist, socket: settings.socket, stateDir, turns },
    ready: () => network.notReady === undefined,
    attached: () => store.list().length > 0,
  });

  /** When the source delivered what is not taken over yet (`performance.now`). */
  let heardAt: number | undefined;
  const onSourceChange = async (): Promise<void> => {
    if (!source.synced) return;
    reconciler.markPodsChanged(heardAt);
    heardAt = undefined;
    holds.update(source.pods());
    await completeNames(store, source);
    if (await node.update(source)) {
      passwords.wake();
      policies.wake();
      reconciler.markDirty();
    }
    for (const reporter of reporters) reporter.wake();
    conflist?.wake();
  };
  using sourceChanges = new ChangeQueue(() => turns.take("cluster", onSourceChange));
  using _subscription = source.onChange(() => {
    heardAt ??= performance.now();
    turns.heard("source");
    policies.wake();
    sourceChanges.add();
  });

  const inspected = {
    nodeName,
    get startedAt() {
      return start();
    },
    settings,
    origins,
    network,
    reconciler,
    source,
    node,
    store,
    ...{ kernel, sysctls, anycast, ip },
    birdc,
    speaker,
    bgpInput,
    drain,
    changes,
    nft,
    policies: new EnforcedState({ policies, source, node, nodeName }),
  };
  const page = createPage(() => inspectAll(inspected), () => new Date());
  const operations = {
    ...cniOperations(network, birdHealth(birdc, node), createTracing()),
    ...drainOperations(drain),
    ...inspectOperations(inspected),
    ...explainOperations(inspected),
    ...policyOperations(inspected),
    ...pageOperations(page),
  };
  const handler = createHandler(
    writer === undefined ? operations : withPodEvents(operations, writer),
  );
  const server = stack.use(
    await serveAgent(
      settings.socket,
      instruments.counting(handler),
      (error) => log.error("Could not serve connection", { err: error }),
    ).catch((cause) => {
      throw new TerminalError(`Cannot start agent: ${cause.message}`, { cause });
    }),
  );
  log.info("Opened socket", { socket: settings.socket });
  if (settings.metricsAddress !== undefined) {
    const notReady = (): string | undefined => network.notReady;
    const bird = new BirdLooks({ birdc, node });
    metrics.read({
      ...{ node, source, kernel, sysctls, reconciler, speaker, drain, turns },
      attachments,
      bird,
      sessions,
      notReady,
      policies: inspected.policies,
      policyCounters: new SharedLook(() => nft.counters()),
    });
    const health = { notReady, reconciler, turns, bird: birdAnswer(birdc), metrics, page };
    stack.use(serveHealth(settings.metricsAddress, health));
  }

  const leaks = new LeakCollector({
    ...{ network, store, source, ip, netns, turns },
    now: () => performance.now(),
    onLeak: (source) => instruments.leak(source),
  });
  const monitor = {
    onEvent: (event: IpEvent) => {
      turns.heard("monitor");
      reconciler.heed(event);
    },
    onGap: () => {
      instruments.gap();
      reconciler.markDirty({ repair: true });
    },
  };
  const loops = runLoops({
    ...{ source, reconciler, policies, leaks, passwords, drain, sessions, conflist },
    ...Object.fromEntries(reporters.map((reporter, n) => [`report ${n}`, reporter])),
    monitor: { run: (signal) => runIpMonitor(monitor, signal) },
    deletions: { run: (signal) => watchQueue(stateDir, network, signal) },
  }, { signal: stop.signal, fail });

  await new Promise<void>((resolve) =>
    stop.signal.aborted ? resolve() : stop.signal.addEventListener("abort", () => resolve())
  );
  log.info("Began to stop agent");
  await server.stop(STOP_GRACE_MS);
  // What hangs in a read of a file or of the network is left to the end of the process.
  await Promise.race([loops, new Promise((resolve) => setTimeout(resolve, STOP_LOOPS_MS))]);
  if (!signal.aborted) throw stop.signal.reason;
}

/** A random number of the given width. */
function randomBits(bits: number): bigint {
  const words = crypto.getRandomValues(new BigUint64Array(Math.ceil(bits / 64)));
  return BigInt.asUintN(bits, words.reduce((value, word) => (value << 64n) | word, 0n));
}
