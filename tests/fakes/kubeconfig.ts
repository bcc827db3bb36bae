/**
 * Kubeconfigs for tests.
 *
 * @module
 */

/** A kubeconfig of one cluster and one user, as text. */
export function kubeconfig(
  cluster: Record<string, unknown>,
  user: Record<string, unknown> = {},
): string {
  return JSON.stringify({
    "current-context": "x",
    contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
    clusters: [{ name: "c", cluster: { server: "https://h:6443", ...cluster } }],
    users: [{ name: "u", user }],
  });
}
