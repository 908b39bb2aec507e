import java.io.ByteArrayInputStream;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** Posts a form over HTTPS as a Java client does. Arguments: certificate, URL, form. */
public class Fetch {
    public static void main(String[] args) throws Exception {
        KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());
        trusted.load(null, null);
        byte[] pem = Files.readAllBytes(Path.of(args[0]));
        trusted.setCertificateEntry(
            "server",
            CertificateFactory.getInstance("X.509").generateCertificate(new ByteArrayInputStream(pem)));
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(trusted);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);

        HttpsURLConnection connection = (HttpsURLConnection) URI.create(args[1]).toURL().openConnection();
        connection.setSSLSocketFactory(context.getSocketFactory());
        connection.setConnectTimeout(20_000);
        connection.setReadTimeout(20_000);
        connection.setDoOutput(true);
        connection.getOutputStream().write(args[2].getBytes(StandardCharsets.UTF_8));
        int status = connection.getResponseCode();
        System.out.println(status + " " + connection.getCipherSuite());
        System.out.write(connection.getInputStream().readAllBytes());
        System.out.flush();
    }
}
