//! What other programs need to announce the URL: one text for each.

use std::fmt::Write;

use ipnet::Ipv4Net;

use super::{MOST_BYTES, ProvisioningUrl};

/// The LAN in which a DHCP server answers.
#[derive(Debug, Clone)]
pub struct Lan {
    /// Its network.
    pub network: Ipv4Net,
    /// The interface through which the machine is in it.
    pub interface: String,
}

/// Settings of dnsmasq.
///
/// # Errors
/// When the URL is too long.
pub fn dnsmasq(url: &ProvisioningUrl, lan: &Lan) -> Result<String, String> {
    let (url, Lan { network, interface }) = (url.for_dhcp()?, lan);
    Ok(format!(
        "\
# Tells Jitsi clients in {network} the URL of the provisioning server. It leases no addresses and
# answers no DNS, so it runs next to the DHCP server and any other dnsmasq:
#   dnsmasq --keep-in-foreground --conf-file=jitsi-dnsmasq.conf
interface={interface}
except-interface=lo
port=0
pid-file=
dhcp-leasefile=/dev/null
# Clients send from UDP port 6768 to 6767.
dhcp-alternate-port=6767
# With `proxy` in place of `static`, clients get no answer.
dhcp-range={},static,{}
dhcp-option=224,\"{url}\"
",
        network.network(),
        network.netmask()
    ))
}

/// Settings of Kea.
///
/// # Errors
/// When the URL is too long.
pub fn kea(url: &ProvisioningUrl, lan: &Lan) -> Result<String, String> {
    let (url, Lan { network, interface }) = (url.for_dhcp()?, lan);
    // For Kea, a comma without a backslash ends a field.
    let url = url.replace(',', "\\\\,");
    Ok(format!(
        "\
// Tells Jitsi clients in {network} the URL of the provisioning server. It leases no addresses, so it
// runs next to the DHCP server. Clients send from UDP port 6768 to 6767:
//   kea-dhcp4 -p 6767 -P 6768 -c jitsi-kea.conf
{{
  \"Dhcp4\": {{
    \"interfaces-config\": {{
      \"interfaces\": [ \"{interface}\" ],
      // With `udp`, Kea gets no broadcasts.
      \"dhcp-socket-type\": \"raw\"
    }},
    \"lease-database\": {{ \"type\": \"memfile\", \"persist\": false }},
    \"option-def\": [
      {{ \"name\": \"jitsi-provisioning\", \"code\": 224, \"type\": \"string\", \"space\": \"dhcp4\" }}
    ],
    \"subnet4\": [
      {{
        \"id\": 1,
        \"subnet\": \"{}\",
        \"option-data\": [
          {{
            \"name\": \"jitsi-provisioning\",
            \"data\": \"{url}\"
          }}
        ]
      }}
    ]
  }}
}}
",
        network.trunc()
    ))
}

/// Settings of ISC's dhcpd.
///
/// # Errors
/// When the URL is too long.
pub fn dhcpd(url: &ProvisioningUrl, lan: &Lan) -> Result<String, String> {
    let (url, Lan { network, interface }) = (url.for_dhcp()?, lan);
    Ok(format!(
        "\
# Tells Jitsi clients in {network} the URL of the provisioning server. It leases no addresses, so it
# runs next to the DHCP server. With -p 6767 it answers to port 6768, from which clients send:
#   touch /run/jitsi-dhcpd.leases
#   dhcpd -f -4 -p 6767 -cf jitsi-dhcpd.conf -lf /run/jitsi-dhcpd.leases -pf /run/jitsi-dhcpd.pid {interface}
# Without this line, dhcpd does not answer clients that have an address from another server.
authoritative;
option jitsi-provisioning code 224 = text;
subnet {} netmask {} {{
  option jitsi-provisioning \"{url}\";
}}
",
        network.network(),
        network.netmask()
    ))
}

/// A service file of avahi-daemon.
///
/// # Errors
/// When a part of the URL is too long for a TXT record.
pub fn avahi(url: &ProvisioningUrl) -> Result<String, String> {
    let base = format!("path={}", url.base());
    let mut records = String::new();
    for record in std::iter::once(base).chain(url.parameters.iter().map(ToString::to_string)) {
        if record.len() > MOST_BYTES {
            return Err(format!(
                "`{record}` has {} bytes, and a string in a TXT record has room for {MOST_BYTES}: shorten it",
                record.len()
            ));
        }
        // The parser of parameters leaves out all other characters that XML gives a meaning.
        let _ = writeln!(records, "    <txt-record>{record}</txt-record>");
    }
    let (scheme, port) = (url.scheme.name(), url.port);
    Ok(format!(
        "\
<?xml version=\"1.0\" standalone=\"no\"?>
<!DOCTYPE service-group SYSTEM \"avahi-service.dtd\">
<!-- Tells Jitsi clients that use Bonjour the URL of the provisioning server. For avahi-daemon, on a
     machine in the LAN of the clients: /etc/avahi/services/jitsi-provisioning.service -->
<service-group>
  <!-- Jitsi looks for this name. -->
  <name>Provisioning URL</name>
  <service>
    <type>_{scheme}._tcp</type>
    <port>{port}</port>
    <!-- The whole URL. With a path alone, Jitsi uses the address of this machine as the host, which
         the certificate does not name. The other records are the parameters. -->
{records}  </service>
</service-group>
"
    ))
}

/// A command line of Windows.
pub fn msi(url: &ProvisioningUrl) -> String {
    format!("msiexec /i jitsi.msi PROV_METHOD=Manual PROV_URL=\"{url}\"\n")
}
