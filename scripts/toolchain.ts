/** What a machine must have to build this project: decided here from what the tools say of themselves, without asking them. */

const NODE_MINIMUM = '20.19.0'
/** The oldest Go that builds tailscale.com at the version in worker/go.mod. */
const GO_MINIMUM = '1.26.6'
/** From here on Go reads the toolchain wanted by go.mod and fetches it by itself, unless GOTOOLCHAIN forbids it. */
const GO_FETCHES_ITSELF = '1.21.0'

const getNode = `Get Node ${NODE_MINIMUM} or newer: https://nodejs.org/en/download`
const getGo = `Get Go ${GO_MINIMUM} or newer: https://go.dev/dl/ (unpack to /usr/local/go, add /usr/local/go/bin to PATH)`

export interface GoInstallation {
  /** Output of `go version`; undefined when there is no `go` in PATH. */
  version: string | undefined
  /** Output of `go env GOTOOLCHAIN`; empty before Go 1.21. */
  toolchain: string
}

/** Why this Node cannot run the build, with the remedy; undefined when it can. `version` as in process.versions.node. */
export function nodeProblem(version: string): string | undefined {
  if (atLeast(version, NODE_MINIMUM)) return undefined
  return `Node ${version} is too old: tsnsrv-sup needs ${NODE_MINIMUM} or newer. ${getNode}`
}

/** Why this Go cannot build the worker, with the remedy; undefined when it can. */
export function goProblem({ version, toolchain }: GoInstallation): string | undefined {
  if (version === undefined) return `Go is missing: the worker is built with it. ${getGo}`
  const number = parseGoVersion(version)
  // "devel" builds carry no number; go.mod still refuses them when they are too old.
  if (number === undefined || atLeast(number, GO_MINIMUM)) return undefined
  const canFetch = atLeast(number, GO_FETCHES_ITSELF)
  if (canFetch && toolchain.trim() !== 'local') return undefined
  const remedy = canFetch ? `Let it fetch the right toolchain by itself (unset GOTOOLCHAIN, now "local"), or: ${getGo}` : getGo
  return `Go ${number} is too old: the worker needs ${GO_MINIMUM} or newer. ${remedy}`
}

/** The number in the output of `go version` ("go version go1.26.8 linux/amd64"), release candidates counting as their release. */
export function parseGoVersion(output: string): string | undefined {
  return /\bgo(\d+\.\d+(?:\.\d+)?)/.exec(output)?.[1]
}

function atLeast(version: string, minimum: string): boolean {
  const [have, want] = [version, minimum].map((text) => text.split('.').map(Number)) as [number[], number[]]
  for (const [index, wanted] of want.entries()) {
    const part = have[index] ?? 0
    if (part !== wanted) return part > wanted
  }
  return true
}
