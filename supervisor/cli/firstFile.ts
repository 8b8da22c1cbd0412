/** The configuration that `init` writes: short, with a comment where the next change is likely. */
import { stringify } from 'yaml'

/** What somebody has answered, or given as flags. Empty texts and lists are left out of the file. */
export interface Answers {
  readonly services: readonly { readonly name: string; readonly upstream: string }[]
  /** File with the auth key. */
  readonly authkeyPath: string
  readonly tags: readonly string[]
  /** URL of the control server, if it is not Tailscale's. */
  readonly controlURL: string
  /** Listen with http on port 80 instead of https on 443. */
  readonly plaintext: boolean
}

/** The text of the file. Values are written as YAML wants them; whether they are right is for the parser. */
export function firstFile({ services, authkeyPath, tags, controlURL, plaintext }: Answers): string {
  return `# Services on the tailnet. Check with "tsnsrv-sup validate", take over with "tsnsrv-sup reload".
# For completion in an editor: tsnsrv-sup schema > services.schema.json
# yaml-language-server: $schema=services.schema.json

supervisor:
  # Most services in one worker process: a crash of it is felt by no more.
  shardSize: 20
  # The nodes' keys. If it is lost, all nodes are new, with new names. Default: $STATE_DIRECTORY of systemd, else
  # /var/lib/tsnsrv-sup (root) or ~/.local/state/tsnsrv-sup.
  # stateDir: /srv/tsnsrv-sup
${controlURL === '' ? '  # Control server, if it is not Tailscale.\n  # controlURL: https://headscale.example.org\n' : line('  controlURL', controlURL)}
# Keys of all services. A service may have each of them for itself, too.
defaults:
  # The upstream sees the name that the client has asked for.
  recommendedProxyHeaders: true
${
  authkeyPath === ''
    ? '  # Without a key, "tsnsrv-sup status" shows a URL where you log each node in.\n  # authkeyPath: /etc/tsnsrv-sup/authkey\n'
    : `  # A reusable auth key, or an OAuth client secret, which needs tags.\n${line('  authkeyPath', authkeyPath)}`
}${tags.length === 0 ? '  # tags: [tag:service]\n' : line('  tags', tags)}${
  plaintext
    ? '  # http, for a tailnet without HTTPS certificates.\n  plaintext: true\n  listenAddr: ":80"\n'
    : '  # For a tailnet without HTTPS certificates:\n  # plaintext: true\n  # listenAddr: ":80"\n'
}  # Who may come in; without it, whom the tailnet lets through.
  # allow: ["*@example.org"]

services:
${services.map(({ name, upstream }) => `  - ${line('name', name)}    ${line('upstream', upstream)}`).join('')}`
}

const line = (key: string, value: unknown): string =>
  `${key}: ${stringify(value, { collectionStyle: 'flow', flowCollectionPadding: false, lineWidth: 0 }).trimEnd()}\n`
