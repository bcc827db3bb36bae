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
