/**
 * Traces of the real agent: what Deno exports by OTLP over HTTP (JSON) to a receiver of the test's, which
 * listens in the node's network namespace; and that nothing is exported unless it was asked for.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { Node } from "../../src/lab/node.ts";
import { testWith } from "../support.ts";
import { until } from "./bird_host.ts";
import { ask, createNodeLab, refusal } from "./node_probe.ts";

const PORT = 4318;
const TRACE = "0af7651916cd43dd8448eb211c80319c";
const SPAN = "b7ad6b7169203331";
const TRACEPARENT = `00-${TRACE}-${SPAN}-01`;

/** What of an OTLP span the test looks at. */
interface OtlpSpan {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly status?: { readonly code?: number; readonly message?: string };
  readonly attributes?: readonly {
    readonly key: string;
    readonly value: { readonly stringValue?: string };
  }[];
}

/** Starts the receiver: each body that is posted to /v1/traces becomes a line of its log. */
async function startReceiver(node: Node): Promise<() => Promise<readonly OtlpSpan[]>> {
  const code = `Deno.serve({ hostname: "127.0.0.1", port: ${PORT}, onListen() {} }, async (r) => {
    const body = await r.text();
    if (new URL(r.url).pathname === "/v1/traces") console.log(JSON.stringify(JSON.parse(body)));
    return Response.json({});
  });
  console.log('"listening"');`;
  const receiver = await node.spawn("otlp", [
    ...[Deno.execPath(), "eval", "--no-config", "--no-lock"],
    code,
  ]);
  const lines = async (): Promise<readonly unknown[]> => {
    const text = await Deno.readTextFile(receiver.log).catch(() => "");
    return text.split("\n").slice(0, -1).map((line) => JSON.parse(line));
  };
  await until("the receiver listens", async () => (await lines()).length > 0);
  return async () =>
    (await lines()).slice(1).flatMap((body) =>
      (body as {
        resourceSpans: { scopeSpans: { scope: { name: string }; spans: OtlpSpan[] }[] }[];
      })
        .resourceSpans.flatMap(({ scopeSpans }) =>
          scopeSpans.filter(({ scope }) => scope.name === "flock").flatMap(({ spans }) => spans)
        )
    );
}

testWith("netns: an ADD is traced with its steps, below the caller's span", ["root"], async (t) => {
  const { lab, node } = await createNodeLab();
  await using _lab = lab;
  const spans = await startReceiver(node);
  const env = {
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${PORT}`,
    OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
    OTEL_BSP_SCHEDULE_DELAY: "100",
  };

  await t.step("not unless it is switched on", async () => {
    await node.startAgent({ env });
    await node.waitReady();
    const pod = await node.createPod({ name: "untraced" });
    await node.add(pod, { env: { TRACEPARENT } });
    await node.stopAgent();
    assertEquals(await spans(), []);
  });

  await node.startAgent({ env: { ...env, OTEL_DENO: "true" } });
  await node.waitReady();

  await t.step("a successful one", async () => {
    const pod = await node.createPod({ name: "traced" });
    await node.add(pod, { env: { TRACEPARENT } });
    await until("its span is exported", async () => (await spans()).some(isAdd));
    const all = await spans();
    const [add, ...more] = all.filter(isAdd);
    assertEquals(more, []);
    assertEquals([add?.traceId, add?.parentSpanId], [TRACE, SPAN]);
    assertEquals(attribute(add!, "k8s.pod.name"), "traced");
    assertEquals(attribute(add!, "container.id"), pod.containerId);
    assert(add?.status?.code !== 2);
    const steps = all.filter(({ parentSpanId }) => parentSpanId === add?.spanId)
      .sort((a, b) => BigInt(a.endTimeUnixNano) < BigInt(b.endTimeUnixNano) ? -1 : 1);
    assertEquals(
      steps.map(({ name }) => name).filter((name) => name !== "enforce"),
      ["lookup", "allocate", "store", "wire node", "wire pod", "commit"],
    );
    // One after the other, and inside the ADD; rules beside the store.
    const enforce = steps.find(({ name }) => name === "enforce")!;
    let at = BigInt(add!.startTimeUnixNano);
    for (const { name, startTimeUnixNano, endTimeUnixNano, traceId } of steps) {
      assertEquals(traceId, TRACE);
      if (name === "enforce") continue;
      if (name === "store") assert(BigInt(enforce.startTimeUnixNano) >= at, "enforce began early");
      if (name === "wire node" && BigInt(enforce.endTimeUnixNano) > at) {
        at = BigInt(enforce.endTimeUnixNano);
      }
      assert(BigInt(startTimeUnixNano) >= at, `${name} began before the one before it ended`);
      at = BigInt(endTimeUnixNano);
    }
    assert(BigInt(add!.endTimeUnixNano) >= at);
    const log = await Deno.readTextFile(node.agent!.log);
    assert(log.includes(`"traceparent":"${TRACEPARENT}"`), "the log has it");
  });

  await t.step(
    "one without a caller's span, and a refused one, have a trace of their own",
    async () => {
      const before = (await spans()).filter(isAdd).length;
      const pod = await node.createPod({ name: "alone" });
      await node.add(pod, { env: { TRACEPARENT: "not-a-trace" } });
      const refused = await node.createPod({
        name: "refused",
        annotations: { "flock.fritzlab.net/ipv4": "perhaps" },
      });
      const { message } = await refusal(ask(node, "ADD", refused));
      await until(
        "both are exported",
        async () => (await spans()).filter(isAdd).length === before + 2,
      );
      const added = (await spans()).filter(isAdd).slice(before);
      for (const { traceId, parentSpanId } of added) {
        assert(traceId !== TRACE && (parentSpanId ?? "") === "");
      }
      const failed = added.find(({ status }) => status?.code === 2);
      assertEquals(failed?.status?.message, message);
      assertEquals(attribute(failed!, "k8s.pod.name"), "refused");
    },
  );
});

function isAdd({ name }: OtlpSpan): boolean {
  return name === "ADD";
}

function attribute({ attributes = [] }: OtlpSpan, name: string): string | undefined {
  return attributes.find(({ key }) => key === name)?.value.stringValue;
}
