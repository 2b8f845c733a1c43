/**
 * `npm run soak -- embedded-loss [COUNT [SEED [SHAPE...]]]`: kill -9 of as many bricks of a volume (4+2) as may
 * be lost, COUNT (20) times under load; brought back, healed, and as many others killed.
 */
import { proveKills } from '../lib/kill-proof.ts'

await proveKills('embedded-loss', (rounds, count, progress) => rounds.runLosses(count, progress))
