/**
 * The CNI result: our own shape (that of 1.1.0), and the shapes of every released version in both
 * directions. On the CNI path: no npm, no node, no input or output here.
 *
 * @module
 */
import { CniCode, CniError } from "./errors.ts";
import type { CniVersion } from "./cni.ts";

/** `interfaces[]` of a result. */
export interface CniInterface {
  readonly name: string;
  readonly mac?: string;
  readonly mtu?: number;
  /** Path of the network namespace; absent for an interface of the host. */
  readonly sandbox?: string;
  readonly socketPath?: string;
  readonly pciID?: string;
}

/** `ips[]` of a result. */
export interface CniIp {
  /** CIDR notation. */
  readonly address: string;
  readonly gateway?: string;
  /** Index into `interfaces`. */
  readonly interface?: number;
}

/** `routes[]` of a result. */
export interface CniRoute {
  readonly dst: string;
  readonly gw?: string;
  readonly mtu?: number;
  readonly advmss?: number;
  readonly priority?: number;
  readonly table?: number;
  readonly scope?: number;
}

/** `dns` of a result or a network configuration. */
export interface CniDns {
  readonly nameservers?: readonly string[];
  readonly domain?: string;
  readonly search?: readonly string[];
  readonly options?: readonly string[];
}

/** A result without its version, in the newest shape. */
export interface CniResult {
  readonly interfaces: readonly CniInterface[];
  readonly ips: readonly CniIp[];
  readonly routes: readonly CniRoute[];
  readonly dns?: CniDns;
}

/** A result as the given version prints it. What that version cannot say is left out. */
export function encodeResult(result: CniResult, version: CniVersion): Record<string, unknown> {
  const dns = result.dns === undefined ? {} : { dns: result.dns };
  if (version === "0.1.0" || version === "0.2.0") {
    return {
      cniVersion: version,
      ...encodeOldIp(result, "ip4", (cidr) => !cidr.includes(":")),
      ...encodeOldIp(result, "ip6", (cidr) => cidr.includes(":")),
      ...dns,
    };
  }
  const is110 = version === "1.1.0";
  const namesFamily = version !== "1.0.0" && !is110;
  return {
    cniVersion: version,
    interfaces: result.interfaces.map(({ name, mac, mtu, sandbox, socketPath, pciID }) =>
      defined({
        name,
        mac,
        ...(is110 ? { mtu } : {}),
        sandbox,
        ...(is110 ? { socketPath, pciID } : {}),
      })
    ),
    ips: result.ips.map((ip) =>
      defined({
        ...(namesFamily ? { version: ip.address.includes(":") ? "6" : "4" } : {}),
        interface: ip.interface,
        address: ip.address,
        gateway: ip.gateway,
      })
    ),
    routes: result.routes.map((route) =>
      defined(is110 ? { ...route } : { dst: route.dst, gw: route.gw })
    ),
    ...dns,
  };
}

/**
 * Reads a result of any version; the shape decides, not what it says of itself, because old runtimes
 * pass another version's shape on.
 *
 * @throws {CniError} code 6 naming the field
 */
export function decodeResult(value: unknown): CniResult {
  const result = object(value, "prevResult");
  if (result.ip4 !== undefined || result.ip6 !== undefined) return decodeOld(result);
  const interfaces = list(result.interfaces, "prevResult.interfaces").map(
    (item, i): CniInterface => {
      const at = `prevResult.interfaces[${i}]`;
      const entry = object(item, at);
      return defined({
        name: text(entry.name, `${at}.name`),
        mac: optionalText(entry.mac, `${at}.mac`),
        mtu: optionalNumber(entry.mtu, `${at}.mtu`),
        sandbox: optionalText(entry.sandbox, `${at}.sandbox`),
        socketPath: optionalText(entry.socketPath, `${at}.socketPath`),
        pciID: optionalText(entry.pciID, `${at}.pciID`),
      });
    },
  );
  const ips = list(result.ips, "prevResult.ips").map((item, i): CniIp => {
    const at = `prevResult.ips[${i}]`;
    const entry = object(item, at);
    const index = optionalNumber(entry.interface, `${at}.interface`);
    if (index !== undefined && interfaces[index] === undefined) {
      throw decodeError(`${at}.interface`, index);
    }
    return defined({
      address: text(entry.address, `${at}.address`),
      gateway: optionalText(entry.gateway, `${at}.gateway`),
      interface: index,
    });
  });
  const routes = list(result.routes, "prevResult.routes").map((item, i) =>
    decodeRoute(item, `prevResult.routes[${i}]`)
  );
  return { interfaces, ips, routes, dns: decodeDns(result.dns) };
}

/** What an earlier plugin of the chain reported, with ours after it. */
export function appendResult(earlier: CniResult, ours: CniResult): CniResult {
  const offset = earlier.interfaces.length;
  return {
    interfaces: [...earlier.interfaces, ...ours.interfaces],
    ips: [
      ...earlier.ips,
      ...ours.ips.map((ip) => ({ ...ip, interface: (ip.interface ?? 0) + offset })),
    ],
    routes: [...earlier.routes, ...ours.routes],
    dns: ours.dns ?? earlier.dns,
  };
}

/** DNS settings, or undefined when there are none in them. */
export function decodeDns(value: unknown): CniDns | undefined {
  if (!isObject(value)) return undefined;
  const texts = (field: unknown): string[] | undefined =>
    Array.isArray(field) && field.length > 0 ? field.map(String) : undefined;
  const dns = defined({
    nameservers: texts(value.nameservers),
    domain: typeof value.domain === "string" && value.domain !== "" ? value.domain : undefined,
    search: texts(value.search),
    options: texts(value.options),
  });
  return Object.keys(dns).length === 0 ? undefined : dns;
}

/** True for what JSON calls an object. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** 0.1.0 and 0.2.0 have one address of each family, with the routes of that family inside it. */
function encodeOldIp(
  result: CniResult,
  key: "ip4" | "ip6",
  isFamily: (cidr: string) => boolean,
): Record<string, unknown> {
  const ip = result.ips.find(({ address }) => isFamily(address));
  if (ip === undefined) return {};
  const routes = result.routes.filter(({ dst }) => isFamily(dst))
    .map(({ dst, gw }) => defined({ dst, gw }));
  return {
    [key]: defined({
      ip: ip.address,
      gateway: ip.gateway,
      routes: routes.length > 0 ? routes : undefined,
    }),
  };
}

function decodeOld(result: Record<string, unknown>): CniResult {
  const ips: CniIp[] = [];
  const routes: CniRoute[] = [];
  for (const key of ["ip6", "ip4"] as const) {
    if (result[key] === undefined || result[key] === null) continue;
    const at = `prevResult.${key}`;
    const ip = object(result[key], at);
    ips.push(defined({
      address: text(ip.ip, `${at}.ip`),
      gateway: optionalText(ip.gateway, `${at}.gateway`),
    }));
    routes.push(
      ...list(ip.routes, `${at}.routes`).map((item, i) => decodeRoute(item, `${at}.routes[${i}]`)),
    );
  }
  return { interfaces: [], ips, routes, dns: decodeDns(result.dns) };
}

function decodeRoute(item: unknown, at: string): CniRoute {
  const entry = object(item, at);
  return defined({
    dst: text(entry.dst, `${at}.dst`),
    gw: optionalText(entry.gw, `${at}.gw`),
    mtu: optionalNumber(entry.mtu, `${at}.mtu`),
    advmss: optionalNumber(entry.advmss, `${at}.advmss`),
    priority: optionalNumber(entry.priority, `${at}.priority`),
    table: optionalNumber(entry.table, `${at}.table`),
    scope: optionalNumber(entry.scope, `${at}.scope`),
  });
}

/** The object without the keys whose value is undefined: JSON, and a comparison, should not see them. */
function defined<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, v]) => v !== undefined)) as T;
}

function object(value: unknown, at: string): Record<string, unknown> {
  if (isObject(value)) return value;
  throw decodeError(at, value);
}

function list(value: unknown, at: string): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (Array.isArray(value)) return value;
  throw decodeError(at, value);
}

function text(value: unknown, at: string): string {
  if (typeof value === "string") return value;
  throw decodeError(at, value);
}

function optionalText(value: unknown, at: string): string | undefined {
  return value === undefined || value === null || value === "" ? undefined : text(value, at);
}

function optionalNumber(value: unknown, at: string): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === "number") return value;
  throw decodeError(at, value);
}

function decodeError(at: string, value: unknown): CniError {
  return new CniError(
    CniCode.decode,
    `Cannot decode ${at}: it is ${(JSON.stringify(value) ?? "missing").slice(0, 120)}`,
  );
}
