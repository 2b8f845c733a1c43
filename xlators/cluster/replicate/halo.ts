/**
 * Halo replication: of the bricks that are connected, only those near enough are used; the others
 * are treated as if they were down, and the self-heal daemon brings them what they missed
 * (__afr_handle_ping_event, __afr_handle_child_up_event, __afr_handle_child_down_event).
 */
import { bit, bricksOf, count, has } from '../common/mask.ts'

export interface HaloLimits {
  readonly enabled: boolean
  readonly maxLatencyMs: number
  /** Bricks that are used however far they are. */
  readonly minReplicas: number
  readonly maxReplicas: number
}

/** A brick that has not answered a ping yet is as far as can be. */
const UNKNOWN_MS = 99_999

export class Halo {
  /** Times for a ping there and back, by brick. */
  readonly #latencyMs: readonly (number | undefined)[]
  limits: HaloLimits = { enabled: false, maxLatencyMs: 0, minReplicas: 0, maxReplicas: 0 }
  /** Mask of connected bricks. */
  connected = 0
  #used = 0

  constructor(latencyMs: readonly (number | undefined)[]) {
    this.#latencyMs = latencyMs
  }

  /** Mask of bricks to be used. */
  get used(): number {
    return this.limits.enabled ? this.#used : this.connected
  }

  configure(limits: HaloLimits): void {
    if (limits.enabled && !this.limits.enabled) this.#used = this.connected
    this.limits = limits
  }

  connect(brick: number): void {
    this.connected |= bit(brick)
    this.#used |= bit(brick)
    const { maxLatencyMs, minReplicas, maxReplicas } = this.limits
    const farthest = this.#farthest()
    const used = count(this.#used)
    const isFar = used > minReplicas && this.#latency(farthest) > maxLatencyMs
    if (isFar || used > maxReplicas) this.#used &= ~bit(farthest)
  }

  disconnect(brick: number): void {
    this.connected &= ~bit(brick)
    this.#used &= ~bit(brick)
    if (count(this.#used) >= this.limits.minReplicas) return
    const spare = this.connected & ~this.#used
    if (spare !== 0) this.#used |= bit(this.#nearest(spare))
  }

  /** A brick answered a ping; its latency is known anew. */
  ping(brick: number): void {
    if (!has(this.connected, brick)) return
    const { maxLatencyMs, minReplicas, maxReplicas } = this.limits
    const used = count(this.#used)
    const isNear = this.#latency(brick) <= maxLatencyMs
    if (!isNear && has(this.#used, brick) && used > minReplicas) this.#used &= ~bit(brick)
    if (isNear && used < maxReplicas) this.#used |= bit(brick)
  }

  #latency(brick: number): number {
    return this.#latencyMs[brick] ?? UNKNOWN_MS
  }

  #farthest(): number {
    const bricks = bricksOf(this.#used)
    return bricks.reduce((a, b) => (this.#latency(b) >= this.#latency(a) ? b : a))
  }

  #nearest(mask: number): number {
    return bricksOf(mask).reduce((a, b) => (this.#latency(b) < this.#latency(a) ? b : a))
  }
}
