/** Who may use a brick (spec 12 C): what SETVOLUME must say, and the rules of the volfile. */
import { E, type Errno } from '../../../src/core/errno.ts'
import { globToRegExp } from '../../../src/graph/build.ts'
import { type LegacyDict, legacyText } from '../../../src/xdr/dict.ts'
import { GF_FOP } from '../../../src/xdr/programs.ts'

export interface Brick {
  /** The volume `remote-subvolume` must name: the brick's path. */
  readonly path: string
  readonly volumeId: string | undefined
  /** The brick's disk works. */
  readonly up: boolean
}

/** Why a client is refused. */
export interface Refused {
  readonly errno: Errno
  readonly why: string
}

/** Undefined when the request is in order; authorisation is another matter. */
export function refusedBy(brick: Brick, dict: LegacyDict): Refused | undefined {
  const subvolume = legacyText(dict, 'remote-subvolume')
  if (subvolume === undefined) {
    return { errno: E.INVAL, why: 'No remote-subvolume option specified' }
  }
  if (subvolume !== brick.path) return { errno: E.NOENT, why: 'Brick not found' }
  if (!brick.up) return { errno: E.AGAIN, why: 'Not received child_up for this xlator' }
  if (legacyText(dict, 'process-uuid') === undefined) {
    return { errno: E.INVAL, why: 'UUID not specified' }
  }
  const volumeId = legacyText(dict, 'volume-id')
  if (volumeId !== undefined && brick.volumeId !== undefined && volumeId !== brick.volumeId) {
    const why = 'Volume-ID different, possible case of same brick re-used in another volume'
    return { errno: E.INVAL, why }
  }
  const fops = legacyText(dict, 'fops-version')
  if (fops !== String(GF_FOP.number)) {
    const why = `version mismatch: client(${fops ?? 0}) - client-mgmt(0)`
    return { errno: E.INVAL, why }
  }
  const subdir = legacyText(dict, 'subdir-mount')
  if (subdir !== undefined && subdir !== '' && subdir !== '/') {
    return { errno: E.NOENT, why: `subdirectory for mount "${subdir}" is not found` }
  }
  return undefined
}

type Verdict = 'accept' | 'reject' | 'no opinion'

/** One rejection is enough to refuse; without one, somebody must accept (gf_authenticate). */
export function isAuthorised(
  options: ReadonlyMap<string, string>,
  path: string,
  host: string,
  dict: LegacyDict,
): boolean {
  const verdicts = [byAddress(options, path, host), byLogin(options, path, dict)]
  return !verdicts.includes('reject') && verdicts.includes('accept')
}

function byAddress(options: ReadonlyMap<string, string>, path: string, host: string): Verdict {
  const rejected = options.get(`auth.addr.${path}.reject`)
  if (rejected !== undefined && listMatches(rejected, host)) return 'reject'
  const allowed = options.get(`auth.addr.${path}.allow`) ?? '*'
  return listMatches(allowed, host) ? 'accept' : 'no opinion'
}

function byLogin(options: ReadonlyMap<string, string>, path: string, dict: LegacyDict): Verdict {
  const user = legacyText(dict, 'username')
  const users = options.get(`auth.login.${path}.allow`)?.split(',') ?? []
  if (user === undefined || !users.map((one) => one.trim()).includes(user)) return 'no opinion'
  const password = options.get(`auth.login.${user}.password`)
  const given = legacyText(dict, 'password')
  return password !== undefined && given === password ? 'accept' : 'reject'
}

/** A comma-separated list of addresses, globs and networks (a.b.c.d/n). */
export function listMatches(list: string, host: string): boolean {
  return list.split(',').some((item) => {
    const one = item.trim()
    const network = /^(\d+\.\d+\.\d+\.\d+)\/(\d+)$/.exec(one)
    if (network !== null) return inNetwork(host, network[1]!, Number(network[2]))
    return globToRegExp(one).test(host)
  })
}

function inNetwork(host: string, network: string, bits: number): boolean {
  const [mine, theirs] = [ipv4(host), ipv4(network)]
  if (mine === undefined || theirs === undefined || bits > 32) return false
  return bits === 0 || mine >>> (32 - bits) === theirs >>> (32 - bits)
}

function ipv4(text: string): number | undefined {
  const parts = text.split('.').map(Number)
  if (parts.length !== 4 || parts.some((part) => !(part >= 0 && part <= 255))) return undefined
  return parts.reduce((value, part) => value * 256 + part, 0)
}
