/**
 * The node's end of a new attachment: its veth with addresses, neighbour entries and host routes, in one
 * process. What is in the way is looked at only when the kernel says that something is: what an earlier
 * attachment of ours has left is removed, what is somebody else's stays, and the ADD fails.
 *
 * @module
 */
import { ROUTE_METRIC } from "../core/config.ts";
import { formatAddress, type Prefix } from "../core/cidr.ts";
import { CniCode, CniError, messageOf } from "../core/errors.ts";
import type { IpRoute } from "../core/ip_state.ts";
import { isOurs } from "../core/own_objects.ts";
import { hostBatch, parseAlias, routedAddresses, type Wiring } from "../core/wiring.ts";
import { hostSysctls } from "../core/wiring_check.ts";
import type { Ip } from "../io/ip.ts";
import { log } from "../log.ts";

/**
 * Makes the node's end.
 *
 * @param context.after what has to be true before anything is made
 * @throws {CniError} 104 naming what is in the way
 */
export async function wireHost(
  wiring: Wiring,
  context: {
    readonly ip: Pick<Ip, "runHost" | "link" | "deleteLink" | "inspectAddresses" | "change">;
    readonly nodePrefixes: readonly Prefix[];
    readonly after: Promise<void>;
  },
): Promise<void> {
  const { ip, nodePrefixes, after } = context;
  const { hostIfname, netns, owner } = wiring;
  const step = { batch: hostBatch(wiring, nodePrefixes), sysctls: hostSysctls(wiring), netns };
  try {
    return await ip.runHost({ ...step, after });
  } catch (error) {
    if (!/File exists/.test(messageOf(error))) throw error;
    const link = await ip.link(hostIfname);
    if (link === undefined) {
      throw new CniError(
        CniCode.wiringFailed,
        `Cannot create interface "${owner.ifname}" in "${netns}": it exists already`,
        { cause: error },
      );
    }
    if (link.alias !== undefined && parseAlias(link.alias) === undefined) throw error;
    // The link may have been made just now, and a route be in the way.
    if (/"ip link add /.test(messageOf(error))) {
      log.warn("Removed left-over link", { link: hostIfname, alias: link.alias });
    }
    await ip.deleteLink(hostIfname);
  }
  await clearRoutes(wiring, ip);
  await ip.runHost(step);
}

/** Removes routes of ours that are where the attachment's will be. One of somebody else is left alone. */
async function clearRoutes(
  wiring: Wiring,
  ip: Pick<Ip, "inspectAddresses" | "change">,
): Promise<void> {
  const addresses = routedAddresses(wiring).map(formatAddress);
  const { routes } = await ip.inspectAddresses(addresses);
  const inTheWay = routes.filter(({ metric }) => metric === ROUTE_METRIC);
  const foreign = inTheWay.find(({ protocol }) => !isOurs(protocol));
  if (foreign !== undefined) {
    const { dst, protocol, dev, nextHops } = foreign;
    const devs = [dev, ...nextHops.map((hop) => hop.dev)].filter((name) => name !== undefined);
    throw new CniError(
      CniCode.wiringFailed,
      `Cannot add route "${dst}": another one is there with metric ${ROUTE_METRIC}, protocol "${protocol}"` +
        (devs.length > 0 ? `, device "${devs.join(", ")}"` : ""),
    );
  }
  if (inTheWay.length === 0) return;
  for (const { dst, protocol, dev } of inTheWay) {
    log.warn("Removed left-over route", { prefix: dst, protocol, dev });
  }
  await ip.change(inTheWay.map(removalOf));
}

function removalOf({ type, dst, protocol, metric }: IpRoute): string {
  const head = type === "unicast" ? dst : `${type} ${dst}`;
  return `route del ${head} proto ${protocol} metric ${metric}`;
}
