import java.io.ByteArrayInputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;

/**
 * Reads answers from standard input, each after its length, and writes the
 * properties that Properties.load reads from them: their number, then each key
 * and value in the order in which they were put; or -1 and the exception.
 */
public class LoadProperties {
    public static void main(String[] args) throws IOException {
        DataInputStream in = new DataInputStream(System.in);
        DataOutputStream out = new DataOutputStream(new java.io.BufferedOutputStream(System.out));
        while (true) {
            byte[] answer;
            try {
                answer = new byte[in.readInt()];
            } catch (EOFException end) {
                return;
            }
            in.readFully(answer);
            final List<String> texts = new ArrayList<>();
            Properties properties = new Properties() {
                @Override
                public synchronized Object put(Object key, Object value) {
                    texts.add((String) key);
                    texts.add((String) value);
                    return super.put(key, value);
                }
            };
            try {
                properties.load(new ByteArrayInputStream(answer));
                out.writeInt(texts.size() / 2);
                for (String text : texts) {
                    write(out, text);
                }
            } catch (IllegalArgumentException thrown) {
                out.writeInt(-1);
                write(out, thrown.toString());
            }
            out.flush();
        }
    }

    private static void write(DataOutputStream out, String text) throws IOException {
        out.writeInt(text.length());
        out.writeChars(text);
    }
}
