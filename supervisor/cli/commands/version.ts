import { Command } from 'commander'
import { inWords } from '../../../shared/systemErrors.ts'
import { findWorkerBinary, readWorkerBuild } from '../../effects/workerBinary.ts'
import type { Streams } from '../terminal.ts'
import { version } from '../version.ts'

/** `tsnsrv-sup version`: what a bug report needs. `--version` prints the number alone. */
export function versionCommand(streams: Streams): Command {
  return new Command('version')
    .description('Print the versions of this program, its worker, tailscale, Go and Node.js: for a report.')
    .option('--worker-binary <file>', 'the worker to ask [$TSNSRV_SUP_WORKER_BINARY]')
    .option('--json', 'print JSON')
    .addHelpText('after', '\nExamples:\n  $ tsnsrv-sup version --json | jq -r .version')
    .action(async (options: { workerBinary?: string; json?: true }) => {
      const worker = await describeWorker(options.workerBinary ?? process.env.TSNSRV_SUP_WORKER_BINARY ?? '')
      const facts = { version, nodejs: process.version, platform: `${process.platform} ${process.arch}`, worker }
      const text = `tsnsrv-sup ${version} (Node.js ${facts.nodejs}, ${facts.platform})\n${inALine(worker)}`
      streams.stdout.write(`${options.json ? JSON.stringify(facts) : text}\n`)
    })
}

type Worker = ({ path: string } & Awaited<ReturnType<typeof readWorkerBuild>>) | { problem: string }

/** A worker that cannot be asked is a part of the report. */
async function describeWorker(configured: string): Promise<Worker> {
  try {
    const path = findWorkerBinary(configured)
    return { path, ...(await readWorkerBuild(path)) }
  } catch (error) {
    return { problem: inWords(error) }
  }
}

function inALine(worker: Worker): string {
  if ('problem' in worker) return `tsnsrv-worker: ${worker.problem}`
  const missing = worker.missing.map((what) => `\n  changed inside tailscale: ${what}`)
  return `tsnsrv-worker ${worker.version} (tailscale ${worker.tailscale}, ${worker.go}): ${worker.path}${missing.join('')}`
}
