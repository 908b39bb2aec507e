import java.io.IOException;
import java.util.Enumeration;
import java.util.Properties;
import java.util.Random;

/**
 * Writes properties like those of a Jitsi that was used for years (accounts,
 * contacts, windows) with Properties.store. The argument is their number.
 */
public class StoreProperties {
    private static final String ROOT = "net.java.sip.communicator.";
    private static final String[] TEXTS = {
        "true", "5060", "SIP:alice@example.org", " leading and  inner ", "caf\u00e9 \u20ac \ud83d\ude00",
        "C:\\Users\\alice\\Bilder", "a=b:c#d!e", "costs $5, ${user}", "line\nbreak\ttab\r\f", "", "alice@example.org/desk",
        "\u00fcber\u0001\u007f", "\u65e5\u672c\u8a9e",
    };

    public static void main(String[] args) throws IOException {
        int count = Integer.parseInt(args[0]);
        Random random = new Random(6);
        Properties properties = new Properties();
        for (int at = 0; properties.size() < count; at++) {
            String text = TEXTS[random.nextInt(TEXTS.length)];
            String key;
            switch (at % 5) {
                case 0: key = ROOT + "impl.protocol.sip.acc" + at / 20 + ".FIELD_" + at; break;
                case 1: key = ROOT + "impl.gui.main.chat.room " + at + "@conference.example.org"; break;
                case 2: key = ROOT + "impl.contactlist.\u00e9quipe:" + at + "=" + text; break;
                case 3: key = "#" + ROOT + "x" + at + "!"; break;
                default: key = ROOT + "util.swing.WINDOW$" + at + ".x"; break;
            }
            properties.setProperty(key, text + (at % 7 == 0 ? " " + at : ""));
        }
        properties.store(System.out, "sip-communicator\nof a test");
    }
}
