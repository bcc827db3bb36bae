/**
 * Labs whose agents read their cluster from the source that the tests are run with: one suite, two
 * sources.
 *
 *     FLOCK_TEST_SOURCE=manifests     a directory of manifests; also when unset
 *     FLOCK_TEST_SOURCE=kubernetes    an API server (`api_cluster.ts`)
 *
 * A test writes manifests either way.
 *
 * @module
 */
import { parseAddress } from "../../src/core/cidr.ts";
import { hostCidr } from "../../src/core/wiring.ts";
import { createLab, type Lab, type LabOptions } from "../../src/lab/lab.ts";
import { testSource } from "../support.ts";
import { ApiCluster } from "./api_cluster.ts";

/** Makes a lab, as `createLab` does. */
export async function createTestLab(options: LabOptions): Promise<Lab> {
  return (await createTestCluster(options)).lab;
}

/** Makes a lab; with it the cluster, where there is one, to be asked what it was told. */
export async function createTestCluster(
  options: LabOptions,
): Promise<{ readonly lab: Lab; readonly cluster?: ApiCluster }> {
  await using undo = new AsyncDisposableStack();
  const lab = undo.use(await createLab(options));
  const cluster = testSource() === "kubernetes" ? await ApiCluster.create(lab) : undefined;
  undo.move();
  return { lab, cluster };
}

/**
 * Waits until the router and the nodes have routes to the prefixes of all other nodes, which comes after
 * their sessions are established, and to some addresses.
 */
export async function waitRoutes(lab: Lab, addresses: readonly string[] = []): Promise<void> {
  for (const host of [lab.router, ...lab.nodes]) {
    const others = lab.plan.nodes.filter(({ name }) => name !== host.name);
    for (const prefix of others.flatMap(({ prefixes }) => Object.values(prefixes))) {
      await host.waitRoute(prefix);
    }
    for (const address of addresses) await host.waitRoute(hostCidr(parseAddress(address)));
  }
}
