import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { manifestPod, manifestsFixture } from "../../tests/fakes/manifest_dir.ts";
import type { ClusterSource, Namespace } from "../core/objects.ts";

const BLOCK = { from: [{ ipBlock: { cidr: "10.0.0.0/8" } }] };

function policy(name: string, ingress: readonly object[] = [], namespace = "shop"): object {
  const metadata = { name, namespace };
  const apiVersion = "networking.k8s.io/v1";
  return { apiVersion, kind: "NetworkPolicy", metadata, spec: { ingress } };
}

function namespace(name: string, labels: object = {}): object {
  return { apiVersion: "v1", kind: "Namespace", metadata: { name, labels } };
}

function policyNames(source: ClusterSource): string[] {
  return [...source.policies()].map(({ namespace, name }) => `${namespace}/${name}`).sort();
}

function namespaceOf(source: ClusterSource, name: string): Namespace | undefined {
  return [...source.namespaces()].find((one) => one.name === name);
}

Deno.test("a directory has policies, namespaces and the pods of all nodes", async () => {
  await using f = await manifestsFixture();
  await f.write("a.yaml", policy("p"), namespace("shop", { team: "a" }), manifestPod("one"));
  assertEquals(f.source.policiesSynced, false);
  f.start();
  await f.until(() => f.source.policiesSynced);
  assertEquals(policyNames(f.source), ["shop/p"]);
  assertEquals([...f.source.peers()].map(({ name }) => name), ["one"]);
  assertEquals(namespaceOf(f.source, "shop")?.labels, {
    team: "a",
    "kubernetes.io/metadata.name": "shop",
  });
  await f.write("a.yaml", policy("p", [BLOCK]), policy("q", [], "other"));
  await f.until(() => policyNames(f.source).length === 2);
  assertEquals([...f.source.policies()][0]?.ingress?.length, 1);
  await Deno.remove(`${f.dir}/a.yaml`);
  await f.until(() => policyNames(f.source).length === 0);
  assertEquals([f.changes(), f.logs], [3, []]);
});

Deno.test("a namespace exists when something is in it, and has its object's labels when there is one", async () => {
  await using f = await manifestsFixture();
  await f.write("a.yaml", manifestPod("one"), policy("p"));
  f.start();
  await f.until(() => f.source.synced);
  const names = (): string[] => [...f.source.namespaces()].map(({ name }) => name).sort();
  assertEquals(names(), ["default", "shop"]);
  const bare = { name: "shop", labels: { "kubernetes.io/metadata.name": "shop" }, annotations: {} };
  assertEquals(namespaceOf(f.source, "shop"), bare);
  await f.write("b.yaml", namespace("shop", { team: "a" }), namespace("empty"));
  await f.until(() => names().length === 3);
  assertEquals(namespaceOf(f.source, "shop")?.labels.team, "a");
  await Deno.remove(`${f.dir}/b.yaml`);
  await f.until(() => names().length === 2);
  assertEquals(namespaceOf(f.source, "shop"), bare);
});

Deno.test("an object that says the same as before stays the same one", async () => {
  await using f = await manifestsFixture();
  await f.write("a.yaml", policy("p", [BLOCK]), namespace("x"), manifestPod("one"));
  f.start();
  await f.until(() => f.source.synced);
  const all = (): unknown[] => [
    [...f.source.policies()].find(({ name }) => name === "p"),
    namespaceOf(f.source, "x"),
    namespaceOf(f.source, "shop"),
    namespaceOf(f.source, "default"),
    f.source.pod("default", "one"),
  ];
  const before = all();
  assert(before.every((object) => object !== undefined));
  // The file changed, and so did the one beside it; these objects did not.
  await f.write("a.yaml", policy("q"), manifestPod("one"), namespace("x"), policy("p", [BLOCK]));
  await f.until(() => policyNames(f.source).length === 2);
  all().forEach((object, n) => assertStrictEquals(object, before[n]));
  await f.write("a.yaml", policy("p"));
  await f.until(() => policyNames(f.source).length === 1);
  assert(all()[0] !== before[0]);
});

Deno.test("what is refused of a policy is told once, until it is another one", async () => {
  await using f = await manifestsFixture();
  const bad = { from: [{ ipBlock: { cidr: "10.0.0.0/33" } }, ...BLOCK.from] };
  await f.write("a.yaml", policy("p", [bad]));
  f.start();
  await f.until(() => f.source.synced);
  await f.write("b.yaml", policy("q"));
  await f.until(() => policyNames(f.source).length === 2);
  const problem =
    'spec.ingress[0].from[0].ipBlock.cidr is "10.0.0.0/33", not a prefix (address/length)';
  assertEquals(
    f.logs.map(({ level, msg, file, object, problems }) => [level, msg, file, object, problems]),
    [["warn", "Refused parts of policy", "a.yaml", "NetworkPolicy shop/p", [problem]]],
  );
  assertEquals([...f.source.policies()][0]?.ingress?.[0]?.peers?.length, 1);
  await f.write("a.yaml", policy("p", [bad, bad]));
  await f.until(() => f.logs.length === 2);
});

Deno.test("a policy whose pods are unclear keeps what it was before", async () => {
  await using f = await manifestsFixture();
  await f.write("a.yaml", policy("p", [BLOCK]));
  f.start();
  await f.until(() => f.source.synced);
  const [before] = f.source.policies();
  await f.write("a.yaml", { ...policy("p"), spec: { podSelector: "web" } });
  await f.until(() => f.logs.length === 1);
  assertEquals(f.logs[0]?.err, 'spec.podSelector is "web", not an object');
  assertStrictEquals([...f.source.policies()][0], before);
});

Deno.test("policies are not known before every file could be read once, and are from then on", async () => {
  await using f = await manifestsFixture();
  await f.write("a.yaml", policy("p"));
  await Deno.writeTextFile(`${f.dir}/b.yaml`, "{ policies");
  f.start();
  await f.until(() => f.source.synced);
  assertEquals([policyNames(f.source), f.source.policiesSynced], [["shop/p"], false]);
  assert(f.source.policiesProblem?.startsWith('manifest "b.yaml" cannot be read: '));
  await f.write("b.yaml", policy("q"));
  await f.until(() => f.source.policiesSynced);
  assertEquals([policyNames(f.source), f.source.policiesProblem], [
    ["shop/p", "shop/q"],
    undefined,
  ]);
  // Of a new one nobody knows anything.
  await Deno.writeTextFile(`${f.dir}/c.yaml`, "{ policies");
  await f.until(() => f.source.policiesProblem !== undefined);
  assertEquals(f.source.policiesSynced, true);
});
