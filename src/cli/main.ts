/** The `glusterfs` command: what to do with a command line, and with which exit status it ends. */
import { writeSync } from 'node:fs'
import { GlusterError } from '../core/errors.ts'
import { checkSetup } from './client-setup.ts'
import { daemonise, type Report, takeReporter } from './daemon.ts'
import { errorLine, exitStatus } from './exit-status.ts'
import { helpText, printedDirectory, usageText, versionText } from './help.ts'
import { type CommandLine, parseCommandLine } from './options.ts'

/** Runs the command with the process's words; sets the exit status. */
export async function main(words: readonly string[] = process.argv.slice(2)): Promise<void> {
  // Node starts its inspector on SIGUSR1 unless somebody listens.
  process.on('SIGUSR1', () => undefined)
  const report = takeReporter()
  // logrotate hangs up on every process of this name, this one before it can do something about it.
  if (report !== undefined) process.on('SIGHUP', () => undefined)
  try {
    const commandLine = parseCommandLine(words)
    const text = printedText(commandLine)
    if (text !== undefined) {
      writeSync(1, text)
      return
    }
    const setup = checkSetup(commandLine)
    if (!setup.foreground && report === undefined) {
      finish(await daemonise(words))
      return
    }
    // Loaded here: the parent of a daemon has no use for it.
    const { runClient } = await import('./mount-client.ts')
    await runClient(setup, words, report ?? finishOnFailure)
  } catch (error) {
    const failure = { status: exitStatus(error), message: errorLine(error) }
    if (!(error instanceof GlusterError) && error instanceof Error)
      failure.message = `${error.stack}`
    if (report !== undefined) report(failure)
    finish(failure)
  }
}

function printedText(commandLine: CommandLine): string | undefined {
  const { given } = commandLine
  if (given.has('help')) return helpText()
  if (given.has('usage')) return usageText()
  if (given.has('version')) return versionText()
  for (const name of given) {
    const directory = printedDirectory(name)
    if (directory !== undefined) return `${directory}\n`
  }
  return undefined
}

/** In the foreground the process itself goes on once it is mounted. */
function finishOnFailure(report: Report): void {
  if (report.status !== 0) finish(report)
}

function finish(report: Report): void {
  if (report.message !== undefined) {
    try {
      writeSync(2, `${report.message}\n`)
    } catch {
      // Standard error is closed; the status says enough.
    }
  }
  process.exit(report.status)
}
