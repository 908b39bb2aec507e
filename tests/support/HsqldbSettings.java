import java.io.DataOutputStream;
import java.io.IOException;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;

/**
 * Writes or reads a database of HSQLDB like that in which Jitsi keeps its
 * settings. Arguments: the path, then "write", how it ends ("close" or "kill")
 * and the number of settings; or "read", which prints their number, then each
 * key and value after its length.
 */
public class HsqldbSettings {
    private static final String ROOT = "net.java.sip.communicator.";
    private static final String[] TEXTS = {
        "true", "5060", "SIP:alice@example.org", " leading, inner and trailing ", "it's 'quoted'', \"twice\"",
        "caf\u00e9 \u20ac \ud83d\ude00 \u65e5\u672c\u8a9e", "C:\\Program Files\\Jitsi\\new", "\\u00e9 \\\\u0041 \\n \\",
        "one\ntwo\r\nthree\ttab\ffeed", "", "');DROP TABLE PROPS;--", "costs $5, ${username} $$ ${null}x",
        "\u0001\u007f\u0085\u00a0\u2028\ufeff", "#a=b:c!", "NULL",
    };

    public static void main(String[] args) throws Exception {
        String options = ";shutdown=true;hsqldb.write_delay=false;hsqldb.write_delay_millis=0";
        try (Connection connection = DriverManager.getConnection("jdbc:hsqldb:file:" + args[0] + options)) {
            if (args[1].equals("read")) {
                read(connection);
                return;
            }
            write(connection, Integer.parseInt(args[3]));
            if (args[2].equals("kill")) {
                Runtime.getRuntime().halt(0);
            }
        }
    }

    private static void write(Connection connection, int count) throws SQLException {
        connection.createStatement().executeUpdate(
            "CREATE TABLE IF NOT EXISTS Props (k LONGVARCHAR UNIQUE, v LONGVARCHAR)");
        connection.setAutoCommit(false);
        PreparedStatement insert = connection.prepareStatement("INSERT INTO Props VALUES (?, ?)");
        Random random = new Random(7);
        for (int at = 0; at < count; at++) {
            String text = TEXTS[random.nextInt(TEXTS.length)];
            String key;
            switch (at % 4) {
                case 0: key = ROOT + "impl.protocol.sip.acc" + at / 20 + ".FIELD_" + at; break;
                case 1: key = ROOT + "impl.gui.main.chat.room " + at + "@conference.example.org=" + text; break;
                case 2: key = "#" + ROOT + "impl.contactlist.\u00e9quipe \ud83d\ude00'" + at; break;
                default: key = ROOT + "plugin.x" + random.nextInt() + ".C:\\" + at; break;
            }
            insert.setString(1, key);
            insert.setString(2, at % 7 == 0 ? text + at : text);
            insert.execute();
        }
        connection.commit();
        // Changed and removed settings leave their marks in the log.
        connection.createStatement().executeUpdate("UPDATE Props SET v = 'changed' WHERE k LIKE '%FIELD_0'");
        connection.commit();
    }

    private static void read(Connection connection) throws SQLException, IOException {
        List<String> texts = new ArrayList<>();
        ResultSet all = connection.createStatement().executeQuery("SELECT k, v FROM Props");
        while (all.next()) {
            texts.add(all.getString(1));
            texts.add(all.getString(2));
        }
        DataOutputStream out = new DataOutputStream(new java.io.BufferedOutputStream(System.out));
        out.writeInt(texts.size() / 2);
        for (String text : texts) {
            out.writeInt(text.length());
            out.writeChars(text);
        }
        out.flush();
    }
}
