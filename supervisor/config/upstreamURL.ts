/** What tsnsrv's `upstream` may be: an http, https or h2c URL that both URL parsers, ours and Go's, read the same way. */
import { isHttpURL } from '../../shared/httpURL.ts'

/** What is wrong with a text, and how to write it. */
interface Problem {
  readonly problem: string
  readonly hint: string
}

/** What is wrong with an upstream; undefined when it is good. */
export function upstreamProblem(upstream: string): Problem | undefined {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(upstream)?.[1]?.toLowerCase()
  if (/[\s\p{Cc}\\]/u.test(upstream)) return invalid('it contains white space or a backslash', 'a URL writes a space as %20')
  const slashes = slashesProblem(upstream)
  if (slashes) return slashes
  if (scheme === undefined || !['http', 'https', 'h2c'].includes(scheme)) return schemeProblem(upstream, scheme)
  if (!/^(?:https?|h2c):\/\/(?:[^/?#@]*@)?[^/?#@%:][^/?#@%]*(?:[/?#]|$)/i.test(upstream))
    return invalid('it has no host', 'write http://host:port')
  if (/%(?![0-9a-f]{2})/i.test(upstream))
    return invalid('a "%" is not followed by two hexadecimal digits', 'a URL writes "%" as %25')
  // Of a scheme that it does not know, a URL parser checks less.
  if (!isHttpURL(upstream.replace(/^h2c:/i, 'http:')))
    return invalid('host or port are malformed', 'write http://host:port, with a port of at most 65535')
  return undefined
}

/** "http:/host", "http:host" and "http//host". */
function slashesProblem(upstream: string): Problem | undefined {
  const [, scheme = '', colon, slashes = '', rest = ''] = /^(https?|h2c)(:?)(\/*)([^/].*)?$/i.exec(upstream) ?? []
  const isMeant = rest !== '' && (colon === ':' || slashes === '//')
  if (!isMeant || (colon === ':' && slashes.length >= 2)) return undefined
  // A host may be called http, with a port.
  if (slashes === '' && /^\d+(?:$|[/?#])/.test(rest)) return undefined
  return invalid('"://" is missing after the scheme', `write ${scheme}://${withoutSecret(rest)}`)
}

function schemeProblem(upstream: string, scheme: string | undefined): Problem {
  const rest = withoutSecret(scheme === undefined ? upstream : upstream.slice(scheme.length + '://'.length))
  if (scheme === 'unix' || /^unix:|^[@/]/.test(upstream)) {
    const path = rest.replace(/^unix:/, '')
    return invalid('it is the path of a socket', `write upstream: http://localhost and upstreamUnixAddr: ${path}`)
  }
  // localhost:8080 parses as a URL of the scheme "localhost", which tsnsrv accepts and then cannot reach.
  if (scheme === undefined) return invalid('it has no scheme', `write http://${rest}`)
  const is = `its scheme is ${scheme}`
  if (scheme === 'tcp') {
    const port = /:(\d+)$/.exec(rest)?.[1] ?? '22'
    return invalid(is, `for any bytes write tcp: [{ listenAddr: ":${port}", upstream: "${rest}" }]`)
  }
  if (scheme === 'ws' || scheme === 'wss') return invalid(is, `write http${scheme.slice(2)}://${rest}; WebSockets pass`)
  if (scheme.startsWith('grpc')) return invalid(is, `write h2c://${rest}, or https://${rest} if it speaks TLS`)
  return invalid(is, 'an upstream speaks http, https, or h2c (HTTP/2 without TLS, as in gRPC)')
}

/** What follows the scheme, without user name, password and query: a hint is shown in logs too. */
const withoutSecret = (rest: string) => rest.slice(rest.lastIndexOf('@') + 1).split(/[?#]/, 1)[0] ?? ''

function invalid(why: string, hint: string): Problem {
  return { problem: `invalid destination URL: ${why}`, hint }
}
