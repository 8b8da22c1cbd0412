# The YAML that `tsnsrv-sup start --config` reads, from the options in options.nix. Every option that has a key is written
# whatever its value, as the program's own defaults differ from the module's (stripPrefix): an omitted one would change its
# meaning. What this version cannot do yet is written all the same; the program then refuses to start and says what.
{ lib, cfg, credential, certificate }:
let
  # null is "not set" in the module and has no place in the file.
  present = lib.filterAttrs (_: value: value != null);

  entry = name: service: present {
    inherit name;
    upstream = service.toURL;
    authkeyPath = credential name;
    certificateFile = (certificate service).file;
    keyFile = (certificate service).key;
    upstreamUnixAddr = lib.mapNullable toString service.upstreamUnixAddr;
    readHeaderTimeout =
      if service.readHeaderTimeout != null then service.readHeaderTimeout
      else if service.funnel then "1s"
      else "0s";
    inherit (service)
      authBypassForTailnet authCopyHeaders authInsecureHTTPS authPath authTimeout authURL ephemeral funnel funnelOnly group
      insecureHTTPS listenAddr plaintext prefixes recommendedProxyHeaders stripPrefix suppressTailnetDialer suppressWhois tags
      timeout tsnetVerbose upstreamAllowInsecureCiphers upstreamHeaders upstreamTCPAddr weight whoisTimeout;
  };
in
{
  prometheusAddr = if cfg.prometheusAddr == null then "off" else cfg.prometheusAddr;
  supervisor.shardSize = cfg.supervisor.shardSize;
  services = lib.mapAttrsToList entry cfg.services;
}
