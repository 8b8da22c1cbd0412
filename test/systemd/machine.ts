/** A machine with a real systemd as PID 1, for one test file: booted in a second, and gone without a trace. */
import { existsSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { execa } from 'execa'

const BOOT = join(import.meta.dirname, 'boot.sh')
const BOOT_TIMEOUT_MS = 30_000

/** Why no systemd can be booted here; undefined when one can. */
export async function whyNoSystemd(): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return 'needs root'
  if (!existsSync('/lib/systemd/systemd')) return 'systemd is missing (apt install systemd)'
  if (!readFileSync('/proc/mounts', 'utf8').includes(' cgroup2 ')) return 'no cgroup2 hierarchy is mounted'
  const mounts = 'mount -t tmpfs tmpfs /tmp && mkdir /tmp/u /tmp/w /tmp/m && mount -t proc proc /proc'
  const overlay = 'mount -t overlay -o lowerdir=/,upperdir=/tmp/u,workdir=/tmp/w overlay /tmp/m'
  const namespaces = ['--mount', '--pid', '--ipc', '--uts', '--cgroup', '--fork', '--propagation', 'private']
  const { failed, stderr, shortMessage } = await execa('unshare', [...namespaces, 'sh', '-c', `${mounts} && ${overlay}`], {
    reject: false,
  })
  return failed ? `namespaces and mounts are not permitted: ${stderr || (shortMessage ?? '')}` : undefined
}

type Booted = ReturnType<typeof startBoot>

const startBoot = (scratch: string, binds: readonly string[]) =>
  execa('bash', [BOOT, scratch, ...binds], { all: true, reject: false, stdin: 'ignore' })

export class Machine {
  readonly #scratch: string
  readonly #booted: Booted
  readonly #group: string
  /** Of systemd, as it is known here. */
  readonly #pid: number

  private constructor(scratch: string, booted: Booted, group: string, pid: number) {
    this.#scratch = scratch
    this.#booted = booted
    this.#group = group
    this.#pid = pid
  }

  /** Boots. `binds`: files and directories of this machine by their paths inside. */
  static async boot(binds: Readonly<Record<string, string>>): Promise<Machine> {
    const scratch = await mkdtemp(join(tmpdir(), 'm-'))
    const args = Object.entries(binds).map(([target, source]) => `${source}=${target}`)
    const booted = startBoot(scratch, args)
    let output = ''
    booted.all.on('data', (chunk: Buffer) => (output += chunk.toString()))
    const died = booted.then(() => {
      throw new Error(`systemd did not boot:\n${output}`)
    })
    died.catch(() => undefined)
    const until = async (holds: () => boolean | Promise<boolean>) => {
      const deadline = Date.now() + BOOT_TIMEOUT_MS
      while (Date.now() < deadline) {
        if (await holds()) return
        await delay(20)
      }
      booted.kill('SIGTERM')
      throw new Error(`systemd did not boot in time:\n${output}`)
    }
    await Promise.race([died, until(() => output.split('\n').length > 2)])
    const [group = '', pid = ''] = output.split('\n')
    const machine = new Machine(scratch, booted, group, Number(pid))
    await Promise.race([died, until(() => machine.isRunning())])
    return machine
  }

  /** Where a path of the machine is seen from here. */
  path(inside: string): string {
    return `/proc/${String(this.#pid)}/root${inside}`
  }

  /** Runs a program inside, to its end. Rejects when it fails. */
  async run(...command: string[]): Promise<string> {
    return (await execa('nsenter', ['--target', String(this.#pid), '--all', ...command])).stdout
  }

  /** Runs a program inside, to its end, whatever comes of it. */
  async execute(...command: string[]): Promise<{ exitCode: number | undefined; stdout: string; stderr: string }> {
    const { exitCode, stdout, stderr } = await execa('nsenter', ['--target', String(this.#pid), '--all', ...command], {
      reject: false,
    })
    return { exitCode, stdout, stderr }
  }

  async write(inside: string, text: string): Promise<void> {
    await mkdir(dirname(this.path(inside)), { recursive: true })
    await writeFile(this.path(inside), text)
  }

  async link(inside: string, to: string): Promise<void> {
    await mkdir(dirname(this.path(inside)), { recursive: true })
    await symlink(to, this.path(inside))
  }

  /** How many processes run in a service's control group. */
  processesOf(unit: string): number {
    const path = join(this.#group, 'system.slice', `${unit}.service`, 'cgroup.procs')
    const text = existsSync(path) ? readFileSync(path, 'utf8') : ''
    return text.split('\n').filter(Boolean).length
  }

  /** Ends everything that runs inside, and removes what is left. */
  async end(): Promise<void> {
    this.#booted.kill('SIGTERM')
    await this.#booted
    await rm(this.#scratch, { recursive: true })
  }

  private async isRunning(): Promise<boolean> {
    const answer = await this.run('systemctl', 'is-system-running').catch(() => '')
    return answer === 'running'
  }
}
