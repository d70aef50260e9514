"""Small texts of six languages with their English, and chapters that run in this process."""
import itertools
import random
import shutil

import nbformat
import yaml

from lib.engine import params, paths

# Who does what, and where and when: a sentence is one of each, in the language's order.
ENGLISH = ("My mother|The old teacher|Our neighbour|The little boy|A young doctor|My best friend|The tired farmer|Her grandmother",
           "reads a long book|drinks hot tea|writes to the family|buys fresh bread|listens to the radio|waits for the last bus|"
           "looks at the blue sky|sings an old song",
           "in the garden every morning|at home in the evening|near the river on Sunday|at the market before noon|"
           "in the big city today|beside the window at night|in the village in summer|on the way to work")
LANGUAGES = {
    "el": ("Greek", "{} {} {}.",
           "Η μητέρα μου|Ο γέρος δάσκαλος|Ο γείτονάς μας|Το μικρό αγόρι|Ένας νέος γιατρός|Ο καλύτερός μου φίλος|"
           "Ο κουρασμένος αγρότης|Η γιαγιά της",
           "διαβάζει ένα μεγάλο βιβλίο|πίνει ζεστό τσάι|γράφει στην οικογένεια|αγοράζει φρέσκο ψωμί|ακούει ραδιόφωνο|"
           "περιμένει το τελευταίο λεωφορείο|κοιτάζει τον γαλάζιο ουρανό|τραγουδά ένα παλιό τραγούδι",
           "στον κήπο κάθε πρωί|στο σπίτι το βράδυ|κοντά στο ποτάμι την Κυριακή|στην αγορά πριν το μεσημέρι|"
           "στη μεγάλη πόλη σήμερα|δίπλα στο παράθυρο τη νύχτα|στο χωριό το καλοκαίρι|στον δρόμο για τη δουλειά"),
    "zh": ("Han", "{0}{2}{1}。",
           "我的母亲|那位年老的教师|我们的邻居|那个小男孩|一位年轻的医生|我最好的朋友|那个疲倦的农夫|她的祖母",
           "读一本很长的书|喝一杯热茶|给全家人写信|买新鲜的面包|听收音机的广播|等最后一班公共汽车|看着蓝色的天空|唱一首老歌",
           "每天早上在花园里|每个晚上在自己家里|星期天在小河旁边|中午以前在市场上|今天在那座大城市里|夜里在窗户的旁边|夏天在小村子里|"
           "在上班的路上"),
    "hi": ("Devanagari", "{0} {2} {1}।",
           "मेरी माँ|बूढ़े अध्यापक|हमारे पड़ोसी|छोटे लड़के|एक युवा डॉक्टर|मेरे सबसे अच्छे दोस्त|थके हुए किसान|उसकी दादी",
           "एक लंबी किताब पढ़ते हैं|गरम चाय पीते हैं|परिवार को चिट्ठी लिखते हैं|ताज़ी रोटी खरीदते हैं|रेडियो सुनते हैं|"
           "आखिरी बस का इंतज़ार करते हैं|नीला आसमान देखते हैं|एक पुराना गीत गाते हैं",
           "हर सुबह बगीचे में|शाम को घर पर|रविवार को नदी के पास|दोपहर से पहले बाज़ार में|आज बड़े शहर में|रात को खिड़की के पास|"
           "गर्मियों में गाँव में|काम पर जाते हुए"),
    "ckb": ("Arabic", "{0} {2} {1}.",
            "دایکم|مامۆستا پیرەکە|دراوسێکەمان|کوڕە بچووکەکە|پزیشکێکی گەنج|باشترین هاوڕێم|جووتیارە ماندووەکە|نەنکی",
            "کتێبێکی درێژ دەخوێنێتەوە|چای گەرم دەخواتەوە|نامە بۆ خێزانەکەی دەنووسێت|نانی تازە دەکڕێت|گوێ لە ڕادیۆ دەگرێت|"
            "چاوەڕێی دوا پاس دەکات|سەیری ئاسمانی شین دەکات|گۆرانییەکی کۆن دەڵێت",
            "هەموو بەیانییەک لە باخچەکە|ئێواران لە ماڵەوە|ڕۆژی یەکشەممە لە نزیک ڕووبارەکە|پێش نیوەڕۆ لە بازاڕ|"
            "ئەمڕۆ لە شارە گەورەکە|شەوان لە تەنیشت پەنجەرەکە|هاوینان لە گوندەکە|لە ڕێگای کارەکەی"),
    "th": ("Thai", "{}{}{}",
           "แม่ของฉัน|ครูชรา|เพื่อนบ้านของเรา|เด็กชายตัวเล็ก|หมอหนุ่มคนหนึ่ง|เพื่อนสนิทของฉัน|ชาวนาที่เหนื่อยล้า|คุณยายของเธอ",
           "อ่านหนังสือเล่มยาว|ดื่มชาร้อน|เขียนจดหมายถึงครอบครัว|ซื้อขนมปังสด|ฟังวิทยุ|รอรถเมล์คันสุดท้าย|มองท้องฟ้าสีคราม|ร้องเพลงเก่า",
           "ในสวนทุกเช้า|ที่บ้านตอนเย็น|ใกล้แม่น้ำในวันอาทิตย์|ที่ตลาดก่อนเที่ยง|ในเมืองใหญ่วันนี้|ข้างหน้าต่างตอนกลางคืน|"
           "ในหมู่บ้านช่วงฤดูร้อน|ระหว่างทางไปทำงาน"),
    "sw": ("Latin", "{} {} {}.",
           "Mama yangu|Mwalimu mzee|Jirani yetu|Mvulana mdogo|Daktari kijana|Rafiki yangu mkubwa|Mkulima aliyechoka|Bibi yake",
           "anasoma kitabu kirefu|anakunywa chai ya moto|anaiandikia familia barua|ananunua mkate mpya|anasikiliza redio|"
           "anasubiri basi la mwisho|anatazama anga la buluu|anaimba wimbo wa zamani",
           "bustanini kila asubuhi|nyumbani jioni|karibu na mto Jumapili|sokoni kabla ya mchana|katika mji mkubwa leo|"
           "kando ya dirisha usiku|kijijini wakati wa kiangazi|njiani kwenda kazini")}


def sentences(code: str, count: int, seed: int = 0) -> list[tuple[str, str]]:
    """(English, translation) of `count` different sentences."""
    _, order, *parts = LANGUAGES[code]
    places = random.Random(seed).sample(list(itertools.product(range(8), repeat=3)), count)
    own, english = ([part.split("|") for part in group] for group in (parts, ENGLISH))
    return [(" ".join(part[at] for part, at in zip(english, place)) + ".",
             order.format(*(part[at] for part, at in zip(own, place)))) for place in places]


def profile(name: str, folder, parameters: dict[str, dict]):
    """A profile as a user makes one: a copy of smoke in `folder` under a new name, with parameters by chapter."""
    shutil.copytree(paths.PARAMS / "smoke", folder / name)
    for file in (folder / name).glob("*.yaml"):
        file.write_text(yaml.safe_dump(params.read(file) | {"profile": name} | parameters.get(file.stem, {})), "utf8")


def execute(name: str, chapter: str):
    """Runs a chapter's code cells in this process with the parameters of a profile."""
    cells = [cell for cell in nbformat.read(paths.notebook(chapter), as_version=4).cells if cell.cell_type == "code"]
    space = {"display": lambda *_: None}
    for number, cell in enumerate(cells):
        exec(compile(cell.source, f"{chapter}, code cell {number}", "exec"), space)
        space |= params.load(name, chapter) if "parameters" in cell.metadata.get("tags", ()) else {}
