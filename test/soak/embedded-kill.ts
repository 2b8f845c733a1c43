/**
 * `npm run soak -- embedded-kill [COUNT [SEED [SHAPE...]]]`: kill -9 of all bricks, the management server and
 * the client of a volume (4+2) at COUNT (100) random moments of a load of many steps at a time.
 */
import { proveKills } from '../lib/kill-proof.ts'

await proveKills('embedded-kill', (rounds, count, progress) => rounds.run(count, progress))
