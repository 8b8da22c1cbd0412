# The configuration that `tsnsrv-sup start --config` reads, from the options in options.nix. What this version cannot do yet is
# written all the same; the program then refuses to start and says what.
{ lib }:
let
  keys = import ./settings.nix { inherit lib; };

  options = { credential, certificate }: service: {
    upstream = service.toURL;
    authkeyPath = lib.mapNullable credential service.authKeyPath;
    controlURL = service.loginServerUrl;
    certificateFile = (certificate service).file;
    keyFile = (certificate service).key;
    upstreamUnixAddr = lib.mapNullable toString service.upstreamUnixAddr;
    readHeaderTimeout =
      if service.readHeaderTimeout != null then service.readHeaderTimeout
      else if service.funnel then "1s"
      else "0s";
    inherit (service)
      authBypassForTailnet authCopyHeaders authInsecureHTTPS authPath authTimeout authURL ephemeral funnel funnelOnly group
      insecureHTTPS listenAddr plaintext prefixes recommendedProxyHeaders stripPrefix suppressTailnetDialer suppressWhois tags timeout
      tsnetVerbose upstreamAllowInsecureCiphers upstreamHeaders upstreamTCPAddr weight whoisTimeout;
  };

  # null says nothing, and so does not hide what comes before.
  set = lib.filterAttrs (_: value: value != null);
in
{
  # Keys that have an option of their own.
  own = lib.attrNames (options { credential = null; certificate = null; } null);

  # `credential` gives the path of the credential with what is in a key file, `certificate` a service's file and key.
  file = { cfg, credential, certificate }: {
    prometheusAddr = if cfg.prometheusAddr == null then "off" else cfg.prometheusAddr;
    supervisor = keys.written keys.supervisor cfg.supervisor.settings;
    services = lib.mapAttrsToList
      (name: service: { inherit name; } // keys.written keys.service
        (options { inherit credential certificate; } service // set cfg.defaults.settings // set service.settings))
      cfg.services;
  };
}
